import "./style.css";
import { play, stop } from "./player";
import { fetchStatus, type Status } from "./status";
import { showStatus, showUnreachable } from "./view";

const REFRESH_MS = 1000;

let chosen: string | null = new URLSearchParams(location.search).get("stream");

async function refresh(): Promise<void> {
  try {
    show(await fetchStatus());
  } catch (cause) {
    showUnreachable(cause);
  }
  setTimeout(() => void refresh(), REFRESH_MS);
}

function show(status: Status): void {
  const stream =
    status.streams.find((candidate) => candidate.name === chosen) ??
    status.streams.find((candidate) => candidate.live) ??
    status.streams[0];
  // There is no playlist before the first segment is done, or lost.
  const playable = stream && stream.segments.transcoded + stream.segments.failed > 0 ? stream : undefined;
  if (playable) {
    chosen = playable.name;
    play(playable.playlist);
  } else {
    stop();
  }
  showStatus(status, playable?.name ?? null, (name) => {
    chosen = name;
    show(status);
  });
}

void refresh();
