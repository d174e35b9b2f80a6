// An opened picture: the file as it is sent, its upright size, and pixels for the screen.
// Boxes are [left, top, right, bottom] in pixels of the upright picture, everywhere on the page.

const KEPT_PIXELS = 24e6;  // of the screen's copy: 96 MB
const THUMB = 160;         // pixels of a thumbnail's longer side
let opened = 0;

export class Picture {
  // blob, address: one of them is null. bitmap: null where this browser cannot show it; then the size is unknown
  // until the server says it. exchanges: what was asked about it.
  constructor(blob, name, address = null) {
    Object.assign(this, { blob, name, address, bitmap: null, width: 0, height: 0, exchanges: [] });
    this.id = `${Date.now()}-${++opened}`;
  }

  static async open(blob, name, address = null) {
    const picture = new Picture(blob, name, address);
    if (!blob) return picture;
    const whole = await createImageBitmap(blob).catch(() => null);
    if (!whole) return picture;
    [picture.width, picture.height] = [whole.width, whole.height];
    const share = Math.min(1, Math.sqrt(KEPT_PIXELS / (whole.width * whole.height)));
    picture.bitmap = share === 1 ? whole : await createImageBitmap(whole, resized(whole.width * share, whole.height * share));
    if (share < 1) whole.close();
    return picture;
  }

  get whole() { return [0, 0, this.width, this.height]; }

  /** Bytes of its data URI in a request. */
  get sent() { return this.blob ? this.blob.size * 4 / 3 + 1000 : 0; }

  /** What stands for it in a message. */
  async url() {
    if (!this.blob) return this.address;
    const type = this.blob.type.startsWith("image/") ? this.blob.type : "image/unknown";
    return new Promise((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = () => failed(new Error("the file cannot be read any more: open it again"));
      reader.readAsDataURL(this.blob.slice(0, this.blob.size, type));
    });
  }

  /** A part of it at some size, from the file where the screen's copy is coarser than that; null if it cannot be shown. */
  async part([left, top, right, bottom], width, height) {
    if (!this.bitmap) return null;
    const scale = this.bitmap.width / this.width;
    if (scale < 1 && width > (right - left) * scale) {
      const cut = await createImageBitmap(this.blob, left, top, right - left, bottom - top, resized(width, height)).catch(() => null);
      if (cut) return cut;
    }
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.bitmap, left * scale, top * scale, (right - left) * scale, (bottom - top) * scale, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  /** Itself as a JPEG whose data URI has at most so many bytes. */
  async smaller(bytes) {
    for (let share = Math.sqrt(bytes / this.sent); ; share *= .8) {
      share = Math.min(share, .95);
      const canvas = await this.part(this.whole, this.width * share, this.height * share);
      const flat = new OffscreenCanvas(canvas.width, canvas.height);
      const pen = flat.getContext("2d");
      pen.fillStyle = "#fff";  // a JPEG has no transparency; the server lays it on white as well
      pen.fillRect(0, 0, flat.width, flat.height);
      pen.drawImage(canvas, 0, 0);
      const smaller = await Picture.open(await flat.convertToBlob({ type: "image/jpeg", quality: .9 }), this.name);
      if (smaller.sent <= bytes || flat.width < 32) return smaller;
    }
  }

  /** A small data URI; "" if it cannot be shown. */
  thumbnail() {
    if (!this.bitmap) return "";
    const share = Math.min(1, THUMB / Math.max(this.width, this.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, this.width * share);
    canvas.height = Math.max(1, this.height * share);
    canvas.getContext("2d").drawImage(this.bitmap, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", .7);
  }
}

const resized = (width, height) => ({
  resizeWidth: Math.max(1, Math.round(width)), resizeHeight: Math.max(1, Math.round(height)), resizeQuality: "high",
});
