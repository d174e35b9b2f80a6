// The page's states, and who does what in them.

import { element, showAnswer, showLooks, step } from "./answer.js";
import * as past from "./history.js";
import { Picture } from "./picture.js";
import { ask, meet, meetExamples, Refusal, server } from "./server.js";
import { copied, fragmentOf, readFragment, shareAsPicture } from "./sharing.js";
import { Stage } from "./stage.js";

const $ = id => document.getElementById(id);
const RETRY_MEETING = 3000;  // milliseconds, while the server is not ready
const MOST_OPEN = 8;         // pictures, each with up to 96 MB of pixels
const narrow = matchMedia("(max-width: 860px)");
const pictures = [];         // open ones
let linked = null;           // a box that a link named, for the picture that is opened next
let picture = null;          // the one shown
let shown = null;            // the exchange shown
let running = null;          // the AbortController of the question in progress

const stage = new Stage($("frame"), {
  onOwn: (box, drawing) => {
    $("ask").textContent = box ? "Ask about the box" : "Ask";
    $("draw").setAttribute("aria-pressed", drawing);
  },
  onZoom: scale => { $("zoom").value = `${(100 * scale).toPrecision(2) * 1} %`; },
});

// ── what is said ──
function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = bad ? "bad" : "quiet";
  if (text) spoken(text);
}
function spoken(text) { $("live").textContent = text; }

// ── the server ──
let meeting = null;
async function meetServer() {
  await meet($("key").value);
  const { limits, name, notice, status } = server;
  const words = {
    ready: "", unknown: "", loading: "The model is still loading …", stopping: "The server is stopping.",
    "upstream down": "The model's own server does not answer.", failed: "The model could not be opened.", unreachable: "The server cannot be reached.",
  };
  $("health").textContent = [words[status] ?? status, server.problem].filter(Boolean).join(" ");
  $("health").hidden = !$("health").textContent;
  if (notice !== $("notice").textContent) showNotice(notice);
  if (name) $("model").textContent = `${name} · ${limits.budget.toLocaleString("en")} vision tokens a look · pictures up to ${megabytes(limits.bytes * .75)}`;
  if (limits.budget) $("budget").placeholder = limits.budget;
  if (limits.max_budget) $("budget").max = limits.max_budget;
  $("by-address").hidden = !limits.fetches;
  clearTimeout(meeting);
  if (status !== "ready") meeting = setTimeout(meetServer, RETRY_MEETING);
}
/** Its first words, up to a stop or a bracket; the rest opens with them, and is open where there is room. */
function showNotice(notice) {
  const [, first, rest] = notice.match(/^(.*?)(?:(?<=[.:;]) | (?=\())(.*)$/s) ?? ["", notice, ""];
  $("notice").firstChild.textContent = first;
  $("notice").lastChild.textContent = rest && ` ${rest}`;
  $("notice").open = matchMedia("(min-width: 861px)").matches;
  $("notice").classList.toggle("short", !rest);
  $("notice").hidden = !notice;
}
const megabytes = bytes => `${bytes < 1e6 ? (bytes / 1e6).toFixed(2) : Math.floor(bytes / 1e6)} MB`;
$("key").onchange = meetServer;

async function showExamples() {
  await meetExamples();
  $("samples").querySelector("ul").replaceChildren(...server.examples.map(example => {
    const button = element("button", { type: "button" }, element("img", { src: example.picture, alt: "", loading: "lazy" }), element("span", { textContent: example.question }));
    button.onclick = async () => { await takeExample(example); fill(example); $("ask").focus(); };
    return element("li", {}, button);
  }));
  $("samples").hidden = !server.examples.length;
}
async function takeExample({ picture: address }) {
  const blob = await fetch(address).then(reply => reply.blob(), () => null);
  if (!blob) return say("the server cannot be reached", true);
  add(await Picture.open(blob, address.split("/").at(-1), address));
}

// ── pictures ──
async function take(files) {
  const all = [...files], taken = all.filter(file => !file.type || file.type.startsWith("image/"));
  if (taken.length) say("Opening …");
  for (const file of taken) add(await Picture.open(file, file.name || "picture"));
  const others = all.filter(file => !taken.includes(file)).map(file => file.name);
  if (others.length) say(`${others.join(", ")}: no picture.`, true);
}
function add(one) {
  pictures.push(one);
  show(one);
  if (linked && one.bitmap && linked[2] <= one.width && linked[3] <= one.height) { stage.setDrawing(true); stage.setOwn(linked); }
  linked = null;
  if (pictures.length > MOST_OPEN) { close(pictures[0]); say(`The oldest picture was closed: ${MOST_OPEN} are open at a time.`); }
}
function close(one) {
  if (one.exchanges.at(-1)?.state === "asking") running?.abort();
  pictures.splice(pictures.indexOf(one), 1);
  showStrip();
}
function show(one) {
  picture = one;
  $("empty").hidden = true;
  $("viewer").hidden = false;
  fitFrame();
  stage.show(one);
  $("region").disabled = true;
  for (const id of ["in", "out", "fit", "draw"]) $(id).disabled = !one.bitmap;
  const large = one.sent > server.limits.bytes;
  $("smaller").hidden = !large || !one.bitmap;
  $("ask").disabled = large;
  $("size").textContent = one.bitmap ? `${one.name}: ${one.width.toLocaleString("en")} × ${one.height.toLocaleString("en")} pixels` : `${one.name}: this browser cannot show it, the server may be able to read it`;
  $("frame").querySelector("canvas").setAttribute("aria-label", $("size").textContent);
  say(large ? `It takes ${megabytes(one.sent)} to send; this server takes ${megabytes(server.limits.bytes)}.` : "", large);
  if (!large) spoken(`${$("size").textContent}.`);
  showStrip();
  display(one.exchanges.at(-1) ?? null);
  if (!large && !narrow.matches) $("question").focus({ preventScroll: true });
}
function fitFrame() {
  $("frame").style.setProperty("--ratio", picture.width ? picture.width / picture.height : 1.5);
  $("frame").classList.toggle("blank", !picture.bitmap);
}
function showStrip() {
  $("several").hidden = pictures.length < 2;
  $("several").querySelector("ul").replaceChildren(...pictures.map((one, place) => {
    const button = element("button", { type: "button", title: one.name }, one.bitmap ? element("img", { src: one.thumbnail(), alt: one.name || `picture ${place + 1}` }) : one.name);
    button.setAttribute("aria-pressed", one === picture);
    button.onclick = () => { show(one); $("several").querySelectorAll("li button")[place].focus(); };
    return element("li", {}, button);
  }));
}
$("close").onclick = () => {
  const place = pictures.indexOf(picture);
  close(picture);
  show(pictures[Math.max(0, place - 1)]);
};
$("smaller").onclick = async () => {
  say("Making it smaller …");
  const smaller = await picture.smaller(server.limits.bytes), was = `${picture.width} × ${picture.height}`;
  close(picture);
  add(smaller);
  if (smaller.sent <= server.limits.bytes) say(`Made smaller, from ${was} pixels: very small things may have become unreadable.`);
};
$("pick").onclick = $("other").onclick = () => $("file").click();
$("photo").onclick = () => $("camera").click();
$("file").onchange = $("camera").onchange = event => { take(event.target.files); event.target.value = ""; };
$("take").onclick = () => {
  if (!$("address").value || !$("address").reportValidity()) return;
  add(new Picture(null, $("address").value, $("address").value));
};
addEventListener("paste", event => {
  const { files, types } = event.clipboardData;
  if (!files.length || (types.includes("text/plain") && event.target.matches?.("textarea, input"))) return;  // words are meant
  event.preventDefault();
  take(files);
});
const brings = event => event.dataTransfer.types.includes("Files");  // and no words, which the fields take themselves
addEventListener("dragover", event => { if (brings(event)) { event.preventDefault(); document.body.classList.add("over"); } });
addEventListener("dragleave", event => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", event => {
  if (!brings(event)) return;
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});

// ── the picture's tools ──
$("in").onclick = () => stage.zoomBy(1.5);
$("out").onclick = () => stage.zoomBy(1 / 1.5);
$("fit").onclick = () => stage.fit();
$("region").onclick = () => stage.zoomTo(stage.regions.at(-1));
$("draw").onclick = () => {
  stage.setDrawing(!stage.drawing);
  say(stage.drawing ? "Drag a box on the picture, or move it with the arrow keys: the question is then about the box." : "");
  if (stage.drawing) $("frame").focus({ preventScroll: true });
};

// ── one exchange on screen ──
function display(exchange) {
  shown = exchange;
  document.body.dataset.state = exchange?.state ?? (picture ? "ready" : "empty");
  $("result").hidden = !exchange;
  $("looks").hidden = true;
  const answered = picture.exchanges.filter(one => one.state === "answered");
  $("earlier").hidden = !answered.length;
  $("question-label").textContent = answered.length ? "Another question about this picture" : "Question";
  showThread();
  if (!exchange) return;
  showAnswer(exchange);
  showLooks(exchange, picture);
  showRegions(exchange);
}
function showRegions({ looks, trace, own, together }) {
  if (!picture.width && !together && looks.length && looks[0].turn.views.length) {  // the server knows its size
    [picture.width, picture.height] = looks[0].turn.views[0].source;
    fitFrame();
    stage.fit();
  }
  const next = looks.at(-1)?.turn.next_region;
  stage.setRegions(trace ? trace.regions : next ? [next] : own ? [own] : []);
  $("region").disabled = !stage.regions.length;
}
function showThread() {
  const others = picture.exchanges.filter(one => one !== shown && one.state === "answered");
  $("thread").hidden = !others.length;
  $("thread").querySelector("ol").replaceChildren(...others.map(one => {
    const button = element("button", { type: "button" }, element("span", { textContent: one.question }), element("strong", { textContent: one.answer }));
    button.onclick = () => { display(one); $("result").scrollIntoView({ block: "nearest" }); spoken(`${one.question} ${one.answer}`); };
    return element("li", {}, button);
  }));
}

// ── asking ──
function fill({ question, options = [], flow, budget }) {
  $("question").value = question;
  $("options").value = options.join(", ");
  if ([...$("flow").options].some(one => one.value === flow)) $("flow").value = flow;
  if (budget) $("budget").value = budget;
  if (budget || (flow && flow !== "coarse_to_fine")) $("more").open = true;
}
$("question").onkeydown = event => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
};
$("form").onsubmit = event => {
  event.preventDefault();
  if (!picture || $("ask").disabled || !$("question").value.trim()) return;
  const together = $("together").checked && pictures.length > 1 ? [...pictures] : null;
  const before = $("follow").checked && !together ? picture.exchanges.filter(one => one.state === "answered") : [];
  answer(picture, {
    question: $("question").value.trim(),
    options: $("options").value.split(",").map(one => one.trim()).filter(Boolean),
    own: together ? null : stage.own, flow: together ? "one_look" : $("flow").value, budget: Number($("budget").value) || null,
    before: before.map(one => [one.question, one.answer]),
    together,
  });
};
$("stop").onclick = () => running?.abort();
$("another").onclick = () => { fill({ question: "" }); $("question").focus(); };
$("again").onclick = () => answer(picture, shown);

async function answer(about, { question, options, own, flow, budget, before, together }) {
  running?.abort();
  const mine = running = new AbortController();
  const exchange = { question, options, own, flow, budget, before, together, looks: [], answer: "", trace: null, state: "asking", why: "" };
  const visible = () => picture === about && shown === exchange;
  about.exchanges = [...about.exchanges.filter(one => one.state === "answered"), exchange];
  history.replaceState(null, "", fragmentOf(exchange, about));
  display(exchange);
  say("");
  spoken(step(exchange));
  $("stop").focus({ preventScroll: true });  // the form is away while it is asked
  if (narrow.matches) $("result").scrollIntoView();
  const started = performance.now();
  const clock = setInterval(() => { if (visible()) $("elapsed").textContent = `${Math.round((performance.now() - started) / 1000)} s`; }, 1000);
  $("elapsed").textContent = "";
  try {
    for await (const event of ask(await bodyOf(exchange, about), $("key").value, mine.signal)) {
      const delta = event.choices?.[0]?.delta ?? {};
      exchange.answer += delta.content ?? "";
      if (event.ergo?.turn) exchange.looks.push({ turn: event.ergo.turn, thought: (delta.reasoning_content ?? "").trim() });
      if (event.ergo?.turns) exchange.trace = event.ergo;
      if (!visible() || !event.ergo) continue;
      showLooks(exchange, about);
      showRegions(exchange);
      showAnswer(exchange);
      if (event.ergo.turn?.next_region) spoken(step(exchange));
    }
    if (!exchange.trace) throw new Refusal("the connection ended before the answer");
    exchange.state = "answered";
    if ($("keep").checked) past.keep(exchange, about).then(showHistory);
  } catch (error) {
    exchange.state = error.name === "AbortError" ? "stopped" : "failed";
    exchange.why = error.message;
    if (!(error instanceof Refusal) && exchange.state === "failed") console.error(error);
    exchange.locked = error.status === 401;
    if (error.status === 0 || error.status === 503) meetServer();
  } finally {
    clearInterval(clock);
    if (running === mine) running = null;
  }
  if (!visible()) return picture === about && showThread();
  const focused = document.activeElement;
  display(exchange);
  $("elapsed").textContent = "";
  spoken($("answer").textContent);
  if (exchange.locked) { $("more").open = true; $("key").focus(); }
  else if (focused === $("stop")) $(exchange.state === "answered" ? "another" : "again").focus({ preventScroll: true });
}

/** The request: earlier answers first, the picture with the first question. */
async function bodyOf({ question, options, own, flow, budget, before, together }, about) {
  const urls = await Promise.all((together ?? [about]).map(one => one.url()));
  const images = urls.map(url => ({ type: "image_url", image_url: { url } }));
  const texts = [...before.flatMap(([asked, answered]) => [["user", asked], ["assistant", answered]]), ["user", question]];
  const messages = texts.map(([role, text], place) => ({ role, content: place ? text : [...images, { type: "text", text }] }));
  const ergo = { options, flow: own ? "crop_only" : flow };
  if (own) ergo.region = own;
  if (budget) ergo.budget = budget;
  return { messages, ergo };
}

// ── taking it elsewhere ──
$("copy").onclick = async () => told($("copy"), await copied(shown.answer) ? "Copied." : "This browser does not let pages copy.");
$("link").onclick = async () => {
  const link = new URL(fragmentOf(shown, picture), location.href).href;
  const without = picture.address ? "" : " It holds the question, not the picture.";
  told($("link"), await copied(link) ? `Link copied.${without}` : link);
};
function told(button, text) {  // at the button as well: on a phone the form is out of sight
  say(text);
  button.dataset.name ??= button.textContent;
  button.textContent = text;
  setTimeout(() => { button.textContent = button.dataset.name; }, 2500);
}
$("share").onclick = () => shareAsPicture(shown, picture);

// ── what this browser keeps ──
async function showHistory() {
  const all = await past.kept();
  $("history").hidden = !all.length;
  $("history").querySelector("summary").textContent = `History (${all.length})`;
  $("history").querySelector("ol").replaceChildren(...all.map(one => {
    const words = element("span", {}, element("span", { textContent: one.question }), element("strong", { textContent: one.answer || "no answer" }),
      element("time", { dateTime: new Date(one.id).toISOString(), textContent: new Date(one.id).toLocaleString() }));
    const button = element("button", { type: "button" }, ...(one.thumbnail ? [element("img", { src: one.thumbnail, alt: "" })] : []), words);
    button.onclick = () => reopen(one);
    return element("li", {}, button);
  }));
}
async function reopen(entry) {
  let about = pictures.find(one => one.id === entry.picture);
  if (!about) {
    const stored = await past.keptPicture(entry.picture);
    if (!stored?.blob && !stored?.address) return say("That picture was too large to keep: open it again.", true);
    about = await Picture.open(stored.blob, stored.name, stored.address);
    about.id = entry.picture;
    pictures.push(about);
  }
  const same = about.exchanges.find(one => one.kept === entry.id);
  const exchange = same ?? { ...entry, before: [], state: "answered", why: "", kept: entry.id };
  if (!same) about.exchanges.push(exchange);
  show(about);
  display(exchange);
  fill(entry);
  scrollTo({ top: 0 });
  spoken(`${entry.question} ${entry.answer}`);
}
$("forget").onclick = async () => { await past.forget(); await showHistory(); say("The history is cleared."); $("question").focus(); };
try { $("keep").checked = localStorage.getItem("keep") !== "no"; } catch { /* no storage, no history */ }
$("keep").onchange = () => { try { localStorage.setItem("keep", $("keep").checked ? "yes" : "no"); } catch { /* the same */ } };

// ── a link that was followed ──
async function follow() {
  const asked = readFragment(location.hash);
  if (!asked) return;
  fill(asked);
  linked = asked.own;
  const example = server.examples.find(one => one.picture === asked.picture);
  if (example) await takeExample(example);
  else if (/^https?:/.test(asked.picture ?? "")) add(new Picture(null, asked.picture, asked.picture));
  else if (!picture) say("The link holds a question; open the picture it is about.");
}
addEventListener("hashchange", follow);

// ── how it is laid out: on a narrow screen the answer comes before the picture, for eyes and for screen readers ──
const arrange = () => (narrow.matches ? $("stage").before($("result")) : $("side").prepend($("result")));
narrow.onchange = arrange;
arrange();

let theme = null;
try { theme = localStorage.getItem("theme"); } catch { /* the system's own */ }
if (theme) document.documentElement.dataset.theme = theme;
$("theme").onclick = () => {
  const root = document.documentElement;
  const dark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* for this visit */ }
};

meetServer();
showHistory();
await showExamples();
await follow();
document.body.dataset.loaded = "yes";
