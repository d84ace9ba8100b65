// What the broadcaster answers at /status. Amounts are decimal strings in wei.

export interface Status {
  version: string;
  payments: "on_chain" | "off_chain";
  /** Why segments are refused now; null when they are accepted. */
  refusing: string | null;
  sender: string | null;
  funds: Funds | null;
  block: number | null;
  round: number | null;
  segments: Segments;
  tickets: Tickets;
  streams: Stream[];
  sessions: Session[];
}

export interface Funds {
  deposit: string;
  reserve: string;
  withdraw_round: number;
}

export interface Segments {
  received: number;
  transcoded: number;
  failed: number;
  retried: number;
}

export interface Tickets {
  sent: number;
  /** Expected value of all tickets sent. */
  value: string;
}

export interface Stream {
  name: string;
  live: boolean;
  playlist: string;
  segments: Segments;
  renditions: Rendition[];
}

export interface Rendition {
  name: string;
  width: number;
  height: number;
  segments: number;
  pixels: number;
}

export interface Session {
  orchestrator: string | null;
  url: string;
  /** As "wei/pixels"; null before the first quote. */
  price: string | null;
  latency_ms: number | null;
  in_flight: number;
  segments: number;
  failures: number;
  suspended_ms: number;
  last_error: string | null;
  tickets: Tickets;
}

export async function fetchStatus(): Promise<Status> {
  const reply = await fetch("/status", { signal: AbortSignal.timeout(5000) });
  if (!reply.ok) throw new Error(`/status answered ${reply.status}`);
  return reply.json() as Promise<Status>;
}
