// What was asked, kept in this browser's IndexedDB and nowhere else: the latest questions, their looks, their pictures.
// A browser that keeps nothing (private windows) has a page without a history.

const MOST = 30;             // questions
const MOST_BYTES = 30e6;     // of one picture; of a larger one only the thumbnail is kept

let opening = null;

function database() {
  opening ??= new Promise((done, failed) => {
    const request = indexedDB.open("ergo", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("exchanges", { keyPath: "id" });
      request.result.createObjectStore("pictures", { keyPath: "id" });
    };
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
  return opening;
}

/** One transaction over both stores; its result once it is on disk. */
async function within(mode, work) {
  const transaction = (await database()).transaction(["exchanges", "pictures"], mode);
  const request = work(transaction.objectStore("exchanges"), transaction.objectStore("pictures"));
  return new Promise((done, failed) => {
    transaction.oncomplete = () => done(request?.result);
    transaction.onerror = transaction.onabort = () => failed(transaction.error);
  });
}

/** What is kept, the latest first. */
export const kept = () => within("readonly", exchanges => exchanges.getAll()).then(all => all.reverse(), () => []);

export async function keep(exchange, picture) {
  const { question, options, own, flow, budget, answer, trace } = exchange;
  const id = Date.now(), looks = exchange.together ? [] : exchange.looks;  // one picture is kept with a question
  const entry = { id, question, options, own, flow, budget, looks, answer, trace, picture: picture.id, name: picture.name, thumbnail: picture.thumbnail() };
  const blob = picture.blob && picture.blob.size <= MOST_BYTES ? picture.blob : null;
  const all = await kept();
  const old = all.slice(MOST - 1), used = new Set([picture.id, ...all.slice(0, MOST - 1).map(one => one.picture)]);
  await within("readwrite", (exchanges, pictures) => {
    pictures.put({ id: picture.id, name: picture.name, address: picture.address, blob });
    exchanges.put(entry);
    for (const one of old) {
      exchanges.delete(one.id);
      if (!used.has(one.picture)) pictures.delete(one.picture);
    }
  }).catch(() => {});  // no room, or not allowed: the answer on screen is not touched by that
}

/** {blob, name, address} of a kept question's picture; blob and address are null where it was not kept. */
export const keptPicture = id => within("readonly", (_, pictures) => pictures.get(id)).catch(() => null);

export const forget = () => within("readwrite", (exchanges, pictures) => { exchanges.clear(); pictures.clear(); }).catch(() => {});
