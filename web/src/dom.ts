type Child = Node | string;
type Properties = Record<string, string | boolean | ((event: Event) => void)>;

/** Creates an element. Text is always set as text, never parsed as HTML: stream names come from outside. */
export function element(tag: string, properties: Properties = {}, ...children: Child[]): HTMLElement {
  const created = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") created.addEventListener(key, value);
    else if (typeof value === "boolean") created.toggleAttribute(key, value);
    else created.setAttribute(key, value);
  }
  created.append(...children);
  return created;
}

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Replaces the children only when they differ, so that a refresh does not disturb focus or selection. */
export function update(parent: HTMLElement, ...children: Child[]): void {
  const next = element("div", {}, ...children);
  if (next.innerHTML !== parent.innerHTML) parent.replaceChildren(...next.childNodes);
}

export function table(headings: string[], rows: Child[][]): HTMLElement {
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...headings.map((heading) => element("th", {}, heading)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))))),
  );
}
