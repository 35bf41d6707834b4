// What a task takes and leaves: as it was asked for, and as it was moved, with sizes and checksums.

import { get, TESP } from "./api.js";
import { fill, h } from "./dom.js";
import { bytes, plural } from "./format.js";
import { action, copyButton, urlText } from "./parts.js";

/** The tables of inputs and outputs; `draw(task, transfers)`, and `reload()` once files may have been moved. */
export function fileTables(id, signal) {
  const inputs = h("div", { class: "files" });
  const outputs = h("div", { class: "files" });
  const moved = { input: new Map(), output: new Map(), next: null };
  let drawn = () => {};

  const take = (answer) => {
    for (const file of answer.files) moved[file.direction]?.set(`${file.path} ${file.url ?? ""}`, file);
    moved.next = answer.next_page_token ?? null;
  };
  const more = async () => {
    take(await get(`${TESP}/tasks/${id}/files`, { page_token: moved.next }, signal));
    drawn();
  };
  return {
    inputs,
    outputs,
    draw(task, transfers) {
      drawn = () => {
        const rest = moved.next ? action("More files", more) : null;
        fill(inputs, table(rowsOf(task.inputs, moved.input, transfers, "input"), "This task has no inputs."), rest);
        fill(outputs, table(rowsOf(task.outputs, moved.output, transfers, "output"), "This task keeps no outputs: what it prints is in its logs."), rest && action("More files", more));
      };
      drawn();
    },
    async reload() {
      take(await get(`${TESP}/tasks/${id}/files`, {}, signal));
      drawn();
    },
  };
}

/** Each declared file with what became of it; files of a directory or a pattern follow by themselves. */
function rowsOf(declared, moved, transfers, direction) {
  const left = new Map(moved);
  const rows = (declared ?? []).map((file) => {
    const found = [...left].find(([, one]) => one.path === file.path);
    if (found) left.delete(found[0]);
    const transfer = transfers.find((one) => one.direction === direction && one.path === file.path);
    return { ...file, ...(found?.[1] ?? {}), transfer };
  });
  return [...rows, ...left.values()];
}

function table(rows, nothing) {
  if (!rows.length) return h("p", { class: "faint" }, nothing);
  return h("ul", { class: "plain" }, rows.map(fileRow));
}

function fileRow(file) {
  const source = file.content !== undefined ? `in the request itself, ${plural(file.content.length, "character")}` : file.url ? urlText(file.url) : null;
  return h(
    "li",
    null,
    h("div", { class: "path" }, h("code", null, file.path ?? ""), file.type === "DIRECTORY" ? h("span", { class: "tag" }, "directory") : null, h("span", { class: "size" }, file.size_bytes === undefined ? "" : bytes(file.size_bytes))),
    source ? h("div", { class: "faint" }, source) : null,
    file.description ? h("div", { class: "faint" }, file.description) : null,
    file.transfer && !file.transfer.ended ? progress(file.transfer) : null,
    file.sha256 ? h("div", { class: "sum" }, h("span", null, "SHA-256"), h("code", { title: file.sha256 }, file.sha256), copyButton(file.sha256, "checksum")) : null,
  );
}

function progress(transfer) {
  const text = `${bytes(transfer.done_bytes)}${transfer.total_bytes ? ` of ${bytes(transfer.total_bytes)}` : ""}`;
  return h("div", { class: "progress" }, h("progress", { max: transfer.total_bytes || null, value: transfer.total_bytes ? transfer.done_bytes : undefined, "aria-label": `Transfer of ${transfer.path}` }), h("span", null, text));
}
