"use strict";
// Tables that sort and filter, figures that enlarge and hand out their picture and numbers. Without it the page is whole.
(() => {
  const MISSING = new Set(["", "–", "—"]);
  const SECONDS = { h: 3600, min: 60, s: 1 };
  const collator = new Intl.Collator("en", { numeric: true });

  const button = (text, onClick, label) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    if (label) made.setAttribute("aria-label", label);
    made.addEventListener("click", onClick);
    return made;
  };

  // The number that a cell begins with, seconds of a duration; NaN if it begins with none.
  const numberIn = (text) => {
    const duration = [...text.matchAll(/(\d+(?:\.\d+)?) (h|min|s)\b/g)];
    if (duration.length) return duration.reduce((sum, [, count, unit]) => sum + count * SECONDS[unit], 0);
    const found = text.replace(/−/g, "-").replace(/(\d),(?=\d{3})/g, "$1").match(/^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?/i);
    return found ? Number(found[0]) : NaN;
  };

  const cellText = (row, column) => (row.cells[column] ? row.cells[column].textContent.trim() : "");

  const sortBy = (table, header, rows) => {
    const column = header.cellIndex;
    const next = { none: "descending", descending: "ascending", ascending: "none" };
    const order = next[header.getAttribute("aria-sort") || "none"];
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    if (order !== "none") header.setAttribute("aria-sort", order);
    const texts = new Map(rows.map((row) => [row, cellText(row, column)]));
    const isMissing = (row) => MISSING.has(texts.get(row)) || !row.cells[column];
    const areNumbers = rows.every((row) => isMissing(row) || !Number.isNaN(numberIn(texts.get(row))));
    const compare = (a, b) =>
      areNumbers ? numberIn(texts.get(a)) - numberIn(texts.get(b)) : collator.compare(texts.get(a), texts.get(b));
    const sign = order === "descending" ? -1 : 1;
    const sorted = order === "none" ? rows : [...rows].sort((a, b) => isMissing(a) - isMissing(b) || (isMissing(a) ? 0 : sign * compare(a, b)));
    table.tBodies[0].append(...sorted);
  };

  const filterOf = (table, rows) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const count = document.createElement("output");
    input.type = "search";
    input.placeholder = "words that a row must hold";
    const filter = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    };
    input.addEventListener("input", filter);
    label.append("Filter ", input);
    const bar = document.createElement("p");
    bar.className = "tools";
    bar.append(label, count);
    filter();
    return bar;
  };

  for (const table of document.querySelectorAll("table")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 3) continue;
    for (const header of table.tHead.rows[0].cells) {
      const sort = button("", () => sortBy(table, header, rows));
      sort.className = "sort";
      sort.append(...header.childNodes);
      header.append(sort);
    }
    if (table.classList.contains("filtered")) table.closest(".scroll").before(filterOf(table, rows));
  }

  const dialog = document.createElement("dialog");
  const large = document.createElement("img");
  large.alt = "";
  dialog.append(button("Close", () => dialog.close()), large);
  document.body.append(dialog);
  const enlarge = (image) => {
    large.src = image.src;
    large.alt = image.alt;
    dialog.setAttribute("aria-label", image.alt);
    dialog.showModal();
  };
  const download = (href, name) => {
    const link = document.createElement("a");
    link.href = href;
    link.download = name;
    link.click();
  };
  // The SVG that Python's zlib compressed and that stands in the page as base64.
  const unpacked = (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream, { headers: { "Content-Type": "image/svg+xml" } }).blob();
  };

  for (const figure of document.querySelectorAll("figure")) {
    const image = figure.querySelector("img");
    const svg = figure.querySelector("pre.svg");
    const numbers = figure.querySelector("pre.numbers");
    const title = figure.querySelector("b").textContent;
    const bar = document.createElement("p");
    bar.className = "tools";
    bar.append(
      button("Enlarge", () => enlarge(image), `Enlarge: ${title}`),
      button("PNG", () => download(image.src, `${figure.id}.png`), `Picture as PNG: ${title}`),
    );
    if (svg && window.DecompressionStream)
      bar.append(
        button(
          "SVG",
          async () => download(URL.createObjectURL(await unpacked(svg.textContent)), `${figure.id}.svg`),
          `Picture as SVG: ${title}`,
        ),
      );
    if (numbers)
      bar.append(
        button(
          "CSV",
          () => download(URL.createObjectURL(new Blob([numbers.textContent], { type: "text/csv" })), `${figure.id}.csv`),
          `Numbers as CSV: ${title}`,
        ),
      );
    image.addEventListener("click", () => enlarge(image));
    figure.append(bar);
  }
})();
