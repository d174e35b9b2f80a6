// Taking an answer elsewhere. A link holds the question and the settings in its fragment, which no server is sent;
// a picture only by its address.

import { cost } from "./answer.js";

/** The page's fragment for a question. */
export function fragmentOf({ question, options, own, flow, budget }, picture) {
  const fields = new URLSearchParams({ question });
  for (const option of options) fields.append("option", option);
  if (own) fields.set("region", own.join());
  else if (flow !== "coarse_to_fine") fields.set("flow", flow);
  if (budget) fields.set("budget", budget);
  if (picture.address) fields.set("picture", picture.address);
  return `#${fields}`;
}

/** What a fragment asks for; null where it asks nothing. Anyone can write one: nothing in it is trusted. */
export function readFragment(fragment) {
  const fields = new URLSearchParams(fragment.slice(1));
  if (!fields.has("question") && !fields.has("picture")) return null;
  const own = (fields.get("region") ?? "").split(",").map(Number);
  return {
    question: fields.get("question") ?? "",
    options: fields.getAll("option"),
    own: own.length === 4 && own.every(Number.isInteger) && own[2] > own[0] && own[3] > own[1] ? own : null,
    flow: fields.get("flow"),
    budget: Number(fields.get("budget")) || null,
    picture: fields.get("picture"),
  };
}

/** Whether the text is on the clipboard. Pages at plain http addresses have the old way only. */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea"), focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}

/** The picture with its regions, the question and the answer below: as a PNG, to share or to save. */
export async function shareAsPicture(exchange, picture) {
  const width = 1200, pad = 40, inner = width - 2 * pad, style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(`--${name}`).trim();
  const scale = Math.min(inner / (picture.width || inner), 1600 / (picture.height || 1)), high = picture.bitmap ? picture.height * scale : 0;
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  const lines = [
    ...wrapped(pen, exchange.question, "26px system-ui", inner).map(text => ({ text, font: "26px system-ui", colour: "quiet", step: 36 })),
    ...wrapped(pen, exchange.answer || "no answer", "bold 42px system-ui", inner).map(text => ({ text, font: "bold 42px system-ui", colour: "ink", step: 54 })),
    { text: cost(exchange.trace), font: "20px system-ui", colour: "quiet", step: 44 },
  ];
  canvas.width = width;
  canvas.height = Math.round(2 * pad + high + lines.reduce((sum, line) => sum + line.step, pad / 2));
  pen.fillStyle = colour("paper");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (picture.bitmap) pen.drawImage(picture.bitmap, pad, pad, picture.width * scale, high);
  for (const box of picture.bitmap ? exchange.trace.regions : []) {  // outside the region's own pixels
    const [left, top, right, bottom] = box.map(side => side * scale);
    for (const [stroke, wide] of [[colour("accent"), 4], ["#fff", 2]]) {
      const away = stroke === "#fff" ? 5 : 2;
      pen.strokeStyle = stroke;
      pen.lineWidth = wide;
      pen.strokeRect(pad + left - away, pad + top - away, right - left + 2 * away, bottom - top + 2 * away);
    }
  }
  let y = pad + high + pad / 2;
  for (const line of lines) {
    y += line.step;
    pen.font = line.font;
    pen.fillStyle = colour(line.colour);
    pen.fillText(line.text, pad, y);
  }
  const file = new File([await new Promise(done => canvas.toBlob(done, "image/png"))], "ergo.png", { type: "image/png" });
  if (matchMedia("(pointer: coarse)").matches && navigator.canShare?.({ files: [file] })) return navigator.share({ files: [file] }).catch(() => {});
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

function wrapped(pen, text, font, width) {
  pen.font = font;
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (pen.measureText(longer).width > width && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
