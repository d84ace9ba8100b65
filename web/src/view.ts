import { byId, element, table, update } from "./dom";
import { formatCount, formatPrice, formatWei, shortAddress } from "./format";
import type { Session, Status, Stream } from "./status";

export function showStatus(status: Status, watched: string | null, watch: (name: string) => void): void {
  const node = byId("node");
  node.dataset.state = status.refusing === null ? "ok" : "waiting";
  update(node, status.refusing ?? `ready${status.round === null ? "" : `, round ${status.round}`}`);

  byId("watch").hidden = watched === null;
  byId("empty").hidden = status.streams.length > 0;
  if (status.streams.length === 0) showHelp();
  byId("streams").replaceChildren(...status.streams.map((stream) => streamCard(stream, stream.name === watched, watch)));
  update(byId("sessions"), sessionTable(status.sessions));
  update(byId("payment"), ...payment(status));
}

export function showUnreachable(cause: unknown): void {
  const node = byId("node");
  node.dataset.state = "lost";
  update(node, `broadcaster does not answer (${cause instanceof Error ? cause.message : String(cause)})`);
}

function showHelp(): void {
  update(
    byId("empty"),
    element("h2", {}, "No stream yet"),
    element("p", {}, "Push one with ffmpeg; it appears here after its first segment:"),
    element(
      "pre",
      {},
      [
        "ffmpeg -re -i input.mp4 \\",
        "  -c:v libx264 -preset veryfast -force_key_frames 'expr:gte(t,n_forced*2)' -sc_threshold 0 \\",
        "  -c:a aac -f segment -segment_time 2 -segment_format mpegts \\",
        `  ${location.origin}/live/mystream/%d.ts`,
      ].join("\n"),
    ),
  );
}

function streamCard(stream: Stream, watched: boolean, watch: (name: string) => void): HTMLElement {
  const counts = stream.segments;
  const title = element(
    "button",
    { type: "button", "aria-pressed": String(watched), click: () => watch(stream.name) },
    stream.name,
  );
  const state = element("span", { class: stream.live ? "live" : "ended" }, stream.live ? "live" : "ended");
  const summary = [
    `${formatCount(counts.received)} segments in`,
    `${formatCount(counts.transcoded)} transcoded`,
    `${formatCount(counts.retried)} retried`,
    `${formatCount(counts.failed)} failed`,
  ].join(" · ");
  return element(
    "article",
    {},
    element("h3", {}, title, state, element("a", { href: stream.playlist }, "playlist")),
    element("p", {}, summary),
    table(
      ["Rendition", "Size", "Segments", "Pixels"],
      stream.renditions.map((rendition) => [
        rendition.name,
        `${rendition.width}×${rendition.height}`,
        formatCount(rendition.segments),
        formatCount(rendition.pixels),
      ]),
    ),
  );
}

function sessionTable(sessions: Session[]): HTMLElement {
  if (sessions.length === 0) return element("p", {}, "None known yet.");
  return table(
    ["Orchestrator", "Price", "Latency", "Segments", "Failures", "Tickets", "Expected value", "State"],
    sessions.map((session) => [
      element("span", { title: session.orchestrator ?? "" }, hostOf(session)),
      session.price === null ? "–" : formatPrice(session.price),
      session.latency_ms === null ? "–" : `${formatCount(session.latency_ms)} ms`,
      formatCount(session.segments),
      formatCount(session.failures),
      formatCount(session.tickets.sent),
      formatWei(session.tickets.value),
      element("span", { title: session.last_error ?? "" }, stateOf(session)),
    ]),
  );
}

function hostOf(session: Session): string {
  const host = session.url.replace(/^https?:\/\//, "").replace(/\/$/, "");
  return session.orchestrator === null ? host : `${host} ${shortAddress(session.orchestrator)}`;
}

function stateOf(session: Session): string {
  if (session.suspended_ms > 0) return `resting ${Math.ceil(session.suspended_ms / 1000)} s`;
  return session.in_flight > 0 ? `working on ${session.in_flight}` : "idle";
}

function payment(status: Status): HTMLElement[] {
  const row = (term: string, value: string) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value));
  if (status.payments === "off_chain") return [row("Mode", "off-chain, nothing is paid")];
  return [
    row("Account", status.sender === null ? "–" : shortAddress(status.sender)),
    row("Deposit", status.funds === null ? "–" : formatWei(status.funds.deposit)),
    row("Reserve", status.funds === null ? "–" : formatWei(status.funds.reserve)),
    row("Tickets sent", formatCount(status.tickets.sent)),
    row("Expected value", formatWei(status.tickets.value)),
    row("Block", status.block === null ? "–" : formatCount(status.block)),
  ];
}
