/** A labeller's projects: the pace of today, and what still waits to be sent. */

import { byId } from "./dom.js";
import { tn } from "./i18n.js";
import { Outbox } from "./outbox.js";
import { pace } from "./pace.js";

const user = /** @type {HTMLMetaElement | null} */ (document.querySelector('meta[name="user"]'))?.content || "";
const outbox = new Outbox(user);

function showPace() {
  const { answers, seconds } = pace(user);
  byId("pace").hidden = !answers;
  byId("pace-answers").textContent = String(answers);
  byId("pace-seconds").textContent = seconds < 10 ? seconds.toFixed(1) : String(Math.round(seconds));
}

function showUnsent() {
  const waiting = outbox.items().filter((item) => item.what !== "pass").length;
  const late = waiting > 0 && (Boolean(outbox.trouble) || !navigator.onLine);
  byId("unsent").hidden = !late;
  byId("unsent").textContent = tn("{n} answer waits for the network", "{n} answers wait for the network", waiting);
}

if (document.getElementById("pace")) {
  for (const event of ["change", "sent"]) outbox.addEventListener(event, showUnsent);
  addEventListener("pageshow", showPace);
  showPace();
  showUnsent();
}
outbox.flush();
