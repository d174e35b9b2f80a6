// The answer card and the looks that led to it, of one exchange.
//
// An exchange: question, options, own (a box or null), flow, budget; looks [{turn, thought}] as they come; answer;
// together: the pictures asked about in one look, null for one; trace (the server's `ergo` field, once it is whole); state (asking, answered, stopped, failed); why it failed.

import { server } from "./server.js";

const $ = id => document.getElementById(id);
const number = value => value.toLocaleString("en");

/** An element with text or children. */
export function element(name, fields = {}, ...children) {
  const made = Object.assign(document.createElement(name), fields);
  made.append(...children);
  return made;
}

export function showAnswer(exchange) {
  const { state, looks } = exchange;
  $("asked").textContent = exchange.question + (exchange.options.length ? ` (${exchange.options.join(", ")})` : "");
  $("answer").textContent = {
    asking: exchange.answer,
    answered: exchange.answer || "It answered nothing that can be read.",
    stopped: "Stopped before it answered.",
    failed: `No answer: ${exchange.why}`,
  }[state];
  $("answer").className = state === "answered" && exchange.answer ? "" : state;
  $("step").textContent = {
    asking: step(exchange),
    answered: exchange.trace ? toKnow(exchange.trace).join(" ") : "",
    stopped: looks.length ? "What it had looked at by then is below." : "",
    failed: looks.length ? "What it had looked at by then is below." : "",
  }[state];
  $("progress").classList.toggle("busy", state === "asking");
  $("stop").hidden = state !== "asking";
  $("again").hidden = state !== "failed" && state !== "stopped";
  for (const id of ["another", "copy", "link", "share"]) $(id).hidden = state !== "answered";
}

/** What to know before believing an answer. */
function toKnow({ fallback, remark, caution, confidence }) {
  const remarks = { cut: "It was cut off at the limit of its length.", refused: "The model refused.", cannot_tell: "The model cannot tell." };
  return [
    fallback ? "No region could be read: it looked at the whole picture again." : "",
    remarks[remark] ?? "",
    caution && caution !== server.notice ? caution : "",
    confidence == null ? "" : `The model gives it a probability of ${Math.round(100 * confidence)} %.`,
  ].filter(Boolean);
}

/** What happens now. */
export function step({ looks, own, flow }) {
  if (own) return "Looking at the box …";
  if (!looks.length) return flow === "one_look" ? "Looking at the picture …" : "Looking at a small version …";
  return "Looking closely …";
}

/** The looks; those that are on screen already are left alone. */
export async function showLooks(exchange, picture) {
  const list = $("looks").querySelector("ol");
  if (list.exchange !== exchange) { list.replaceChildren(); list.exchange = exchange; }
  $("looks").hidden = !exchange.looks.length;
  for (const look of exchange.looks.slice(list.children.length)) list.append(lookItem(look, exchange.together ?? [picture]));
  showCost(exchange.trace);
}

function lookItem({ turn, thought }, pictures) {
  const item = element("li", {}, ...turn.views.map((view, place) => viewFigure(view, pictures[place] ?? pictures[0])));
  if (thought) (item.lastChild?.lastChild ?? item).append(element("p", { className: "thought", textContent: thought }));
  return item;
}

function viewFigure({ box: [left, top, right, bottom], source, shown: [width, height], tokens }, picture) {
  const whole = right - left === source[0] && bottom - top === source[1];
  const title = whole ? "The whole picture" : "A close look";
  const where = whole ? "" : `at ${number(right - left)} × ${number(bottom - top)} pixels, ${number(left)} from the left and ${number(top)} from the top; `;
  const figure = element("figure", {}, element("figcaption", {}, element("strong", { textContent: title }),
    `${where}shown in ${number(width)} × ${number(height)}, ${number(tokens)} vision tokens`));
  picture.part([left, top, right, bottom], width, height).then(pixels => {
    if (!pixels) return figure.prepend(element("span", { className: "blank" }));
    const canvas = element("canvas", { width, height });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}, as the model saw it`);
    canvas.getContext("2d").drawImage(pixels, 0, 0, width, height);
    figure.prepend(canvas);
  });
  return figure;
}

function showCost(trace) {
  $("cost").hidden = !trace;
  if (!trace) return;
  const share = trace.direct_vision_tokens ? trace.vision_tokens / trace.direct_vision_tokens : 0;
  $("cost").querySelector("i").style.width = `${Math.min(100, 100 * share)}%`;
  $("cost").querySelector("p").textContent = cost(trace);
}

export function cost(trace) {
  const { vision_tokens: spent, direct_vision_tokens: direct, seconds } = trace;
  const share = direct ? `, ${(100 * spent / direct).toFixed(1)} % of the ${number(direct)} that one look at full size takes` : "";
  return `${number(spent)} vision tokens${share}; ${seconds.toFixed(seconds < 10 ? 2 : 0)} s`;
}
