// The picture on screen: zoom, pan, the regions that were looked at, one's own box.
// Screen coordinates are CSS pixels from the frame's upper left corner.

const CLOSEST = 16;      // CSS pixels of one source pixel
const KEY_ZOOM = 1.4, KEY_PAN = .15;
const SETTLED = 200;     // milliseconds after which a part is fetched at full sharpness

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class Stage {
  // onOwn: called with one's own box, or null, and whether one is being drawn. onZoom: with CSS pixels a source pixel.
  constructor(frame, { onOwn, onZoom }) {
    Object.assign(this, { frame, onOwn, onZoom, picture: null, zoom: 1, centre: [0, 0], regions: [], own: null, drawing: false });
    this.canvas = frame.querySelector("canvas");
    this.layer = frame.querySelector("#boxes");
    this.pointers = new Map();
    this.sharp = null;
    new ResizeObserver(() => this.draw()).observe(frame);
    frame.addEventListener("wheel", event => this.wheeled(event), { passive: false });
    frame.addEventListener("dblclick", event => { if (!this.drawing) this.zoomBy(this.zoom > 4 ? 1 / this.zoom : 2.5, this.at(event)); });
    frame.addEventListener("pointerdown", event => this.pressed(event));
    frame.addEventListener("pointermove", event => this.moved(event));
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, event => { this.pointers.delete(event.pointerId); this.start = null; });
    frame.addEventListener("keydown", event => { if (!event.ctrlKey && !event.metaKey && !event.altKey && this.key(event)) event.preventDefault(); });
  }

  show(picture) {
    Object.assign(this, { picture, regions: [], sharp: null });
    this.setDrawing(false);
    this.fit();
  }

  fit() {
    this.zoom = 1;
    if (this.picture) this.centre = [this.picture.width / 2, this.picture.height / 2];
    this.draw();
  }

  setRegions(boxes) { this.regions = boxes; this.draw(); }

  setOwn(box) { this.own = box; this.draw(); this.onOwn(box, this.drawing); }

  setDrawing(on) {
    this.drawing = on;
    this.frame.classList.toggle("drawing", on);
    if (!on) return this.setOwn(null);
    const { width, height } = this.picture;
    this.setOwn([.3, .3, .7, .7].map((share, place) => Math.round(share * (place % 2 ? height : width))));
  }

  // ── where things are ──
  get size() { return [this.frame.clientWidth, this.frame.clientHeight]; }
  get fitting() { const [w, h] = this.size; return Math.min(w / this.picture.width, h / this.picture.height); }
  get scale() { return this.fitting * this.zoom; }
  get origin() { return this.size.map((side, axis) => side / 2 - this.centre[axis] * this.scale); }
  at(event) { const area = this.frame.getBoundingClientRect(); return [event.clientX - area.left, event.clientY - area.top]; }
  toSource(point) { return point.map((place, axis) => (place - this.origin[axis]) / this.scale); }
  pixel(event) {
    const sides = [this.picture.width, this.picture.height];
    return this.toSource(this.at(event)).map((place, axis) => Math.round(clamp(place, 0, sides[axis])));
  }

  // ── moving ──
  zoomBy(factor, around = this.size.map(side => side / 2)) {
    const kept = this.toSource(around), most = Math.max(1, CLOSEST / this.fitting);
    this.zoom = clamp(this.zoom * factor, 1, most);
    this.centre = kept.map((place, axis) => place + (this.size[axis] / 2 - around[axis]) / this.scale);
    this.draw();
  }

  pan(dx, dy) {
    this.centre = [this.centre[0] - dx / this.scale, this.centre[1] - dy / this.scale];
    this.draw();
  }

  zoomTo([left, top, right, bottom]) {
    const [w, h] = this.size, scale = .6 * Math.min(w / (right - left), h / (bottom - top));
    this.zoom = clamp(scale / this.fitting, 1, Math.max(1, CLOSEST / this.fitting));
    this.centre = [(left + right) / 2, (top + bottom) / 2];
    this.draw();
  }

  wheeled(event) {
    if (!this.picture?.width || (event.deltaY > 0 && this.zoom === 1 && !event.ctrlKey)) return;  // the page scrolls on
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? .01 : .002)), this.at(event));
  }

  pressed(event) {
    if (!this.picture?.width || event.button) return;
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.start = this.drawing && this.pointers.size === 1 ? this.pixel(event) : null;
  }

  moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.at(event);
    this.pointers.set(event.pointerId, now);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = point => Math.hypot(point[0] - other[0], point[1] - other[1]);
      const middle = now.map((place, axis) => (place + other[axis]) / 2);
      this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.zoomBy(apart(now) / Math.max(1, apart(before)), middle);
    } else if (this.start) {
      const [x, y] = this.pixel(event), [x0, y0] = this.start;
      if (x !== x0 && y !== y0) this.setOwn([Math.min(x, x0), Math.min(y, y0), Math.max(x, x0), Math.max(y, y0)]);
    } else if (!this.drawing) {
      this.pan(now[0] - before[0], now[1] - before[1]);
    }
  }

  /** Whether the key meant something here. */
  key(event) {
    if (!this.picture?.width) return false;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow && this.drawing && this.own) this.moveOwn(arrow, event.shiftKey);
    else if (arrow && this.zoom > 1) this.pan(...arrow.map((way, axis) => -way * KEY_PAN * this.size[axis]));
    else if (event.key === "+" || event.key === "=") this.zoomBy(KEY_ZOOM);
    else if (event.key === "-" || event.key === "_") this.zoomBy(1 / KEY_ZOOM);
    else if (event.key === "0" || event.key === "Home") this.fit();
    else if (event.key.toLowerCase() === "r" && this.regions.length) this.zoomTo(this.regions.at(-1));
    else if (event.key === "Escape" && this.drawing) this.setDrawing(false);
    else return false;
    return true;
  }

  moveOwn(arrow, resize) {
    const sides = [this.picture.width, this.picture.height], box = [...this.own];
    arrow.forEach((way, axis) => {
      const step = way * Math.ceil(sides[axis] / this.zoom / 50), long = box[axis + 2] - box[axis];
      if (resize) box[axis + 2] = clamp(box[axis + 2] + step, box[axis] + 1, sides[axis]);
      else { box[axis] = clamp(box[axis] + step, 0, sides[axis] - long); box[axis + 2] = box[axis] + long; }
    });
    this.setOwn(box);
  }

  // ── drawing ──
  draw() {
    const { picture, canvas } = this, [w, h] = this.size;
    if (!picture?.width || !w || !h) { this.layer.replaceChildren(); canvas.width = 0; return; }
    const sides = [picture.width, picture.height];
    this.centre = this.centre.map((place, axis) => {  // no further than the picture's edge
      const half = this.size[axis] / 2 / this.scale;
      return half * 2 >= sides[axis] ? sides[axis] / 2 : clamp(place, half, sides[axis] - half);
    });
    const dots = devicePixelRatio, scale = this.scale * dots, [x, y] = this.origin.map(side => side * dots), pen = canvas.getContext("2d");
    canvas.width = Math.round(w * dots);
    canvas.height = Math.round(h * dots);
    pen.imageSmoothingQuality = "high";
    pen.imageSmoothingEnabled = scale < 3;  // closer than that one wants to see pixels
    if (picture.bitmap) {
      pen.drawImage(picture.bitmap, x, y, picture.width * scale, picture.height * scale);
      this.sharpen(pen, x, y, scale);
    } else {
      pen.fillStyle = "#888";
      pen.fillRect(x, y, picture.width * scale, picture.height * scale);
    }
    this.frame.classList.toggle("zoomed", this.zoom > 1);
    this.layer.replaceChildren(...this.regions.map(box => this.outlined(box, "seen")), ...(this.own ? [this.outlined(this.own, "own")] : []));
    this.onZoom(this.scale);
  }

  outlined(box, kind) {
    const element = document.createElement("div"), { scale, origin } = this;
    element.className = `box ${kind}`;
    Object.assign(element.style, {
      left: `${origin[0] + box[0] * scale}px`, top: `${origin[1] + box[1] * scale}px`,
      width: `${(box[2] - box[0]) * scale}px`, height: `${(box[3] - box[1]) * scale}px`,
    });
    return element;
  }

  /** Of a picture that is kept smaller than it is: the visible part from the file, once nothing moves. */
  sharpen(pen, x, y, scale) {
    const { picture, sharp } = this;
    clearTimeout(this.settling);
    if (sharp?.scale === scale) {
      const [left, top, right, bottom] = sharp.box;
      pen.drawImage(sharp.pixels, x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale);
    }
    const corner = this.toSource([0, 0]), far = this.toSource(this.size);
    const box = [Math.max(0, Math.floor(corner[0])), Math.max(0, Math.floor(corner[1])), Math.min(picture.width, Math.ceil(far[0])), Math.min(picture.height, Math.ceil(far[1]))];
    const fine = picture.bitmap.width >= picture.width || scale <= picture.bitmap.width / picture.width;
    if (fine || (sharp?.scale === scale && String(sharp.box) === String(box))) return;
    this.settling = setTimeout(async () => {
      const share = Math.min(1, scale);
      const pixels = await picture.part(box, (box[2] - box[0]) * share, (box[3] - box[1]) * share);
      if (picture !== this.picture) return;
      this.sharp = { box, scale, pixels };
      this.draw();
    }, SETTLED);
  }
}
