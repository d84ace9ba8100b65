import Hls, { type ErrorData } from "hls.js/light";

import { byId, element, update } from "./dom";

const video = byId<HTMLVideoElement>("video");
const levels = byId("levels");
const RETRY_MS = 2000;

let hls: Hls | null = null;
let playing: string | null = null;

/** Plays a master playlist; a second call with the same one changes nothing. */
export function play(playlist: string): void {
  if (playlist === playing) return;
  stop();
  playing = playlist;
  if (Hls.isSupported()) {
    hls = open(playlist);
  } else {
    video.src = playlist; // Safari on iOS plays HLS itself
  }
}

export function stop(): void {
  hls?.destroy();
  hls = null;
  playing = null;
  video.removeAttribute("src");
  update(levels);
}

function open(playlist: string): Hls {
  const opened = new Hls({ liveSyncDurationCount: 2 });
  opened.on(Hls.Events.MANIFEST_PARSED, showLevels);
  opened.on(Hls.Events.LEVEL_SWITCHED, showLevels);
  opened.on(Hls.Events.ERROR, (_event, data) => recover(opened, data));
  opened.loadSource(playlist);
  opened.attachMedia(video);
  return opened;
}

function recover(failed: Hls, error: ErrorData): void {
  if (!error.fatal || failed !== hls) return;
  if (error.type === Hls.ErrorTypes.MEDIA_ERROR) {
    failed.recoverMediaError();
    return;
  }
  // A stream that has just begun has no playlist yet.
  const playlist = playing;
  stop();
  if (playlist) setTimeout(() => playing ?? play(playlist), RETRY_MS);
}

function showLevels(): void {
  if (!hls) return;
  const shown = hls;
  const button = (index: number, label: string) =>
    element(
      "button",
      {
        type: "button",
        "aria-pressed": String(shown.autoLevelEnabled ? index === -1 : index === shown.currentLevel),
        click: () => {
          shown.nextLevel = index;
          showLevels();
        },
      },
      label,
    );
  const auto = shown.levels[shown.currentLevel];
  levels.replaceChildren(
    button(-1, shown.autoLevelEnabled && auto ? `auto (${auto.height}p)` : "auto"),
    ...shown.levels.map((level, index) => button(index, label(level.url[0] ?? "", level.height))),
  );
}

/** "720p", and "720p source" for the pushed rendition, which has the same height as the largest transcoded one. */
function label(url: string, height: number): string {
  return url.endsWith("/source.m3u8") ? `${height}p source` : `${height}p`;
}
