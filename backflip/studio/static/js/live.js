/** The server's events. The browser connects anew by itself; a stream that was refused is opened again after a while. */

const AGAIN = 5000; // ms
const UNSEEN = 20_000; // ms after which a tab that nobody looks at gives its connection back: a browser has six

/**
 * @param {() => string} address asked at each connection, for what was seen by then
 * @param {Record<string, (data: any, id: string) => void>} listeners by the event's name
 * @param {(connected: boolean) => void} [heard]
 * @returns {() => void} closes
 */
export function listen(address, listeners, heard = () => {}) {
  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  const open = () => {
    source = new EventSource(address());
    source.onopen = () => heard(true);
    source.onerror = () => {
      heard(false);
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(open, AGAIN);
    };
    for (const [name, listener] of Object.entries(listeners)) {
      source.addEventListener(name, (event) => listener(JSON.parse(event.data), event.lastEventId));
    }
  };
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  let unseen = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(unseen);
    if (document.hidden) unseen = window.setTimeout(close, UNSEEN);
    else if (!source) open();
  });
  // A page in the back-forward cache holds no connection; shown again, it opens one.
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
  open();
  return close;
}
