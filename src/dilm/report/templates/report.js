// Search and sort of the table of texts; without this the table is complete, in the order of the file.
"use strict";
(() => {
  const table = document.querySelector(".texts table");
  const groups = [...table.tBodies].map((body) => ({ body, rows: [...body.rows].slice(1) }));
  const search = document.querySelector("#search");
  const found = document.querySelector("#found");

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const { body, rows } of groups) {
      let here = 0;
      for (const row of rows) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
        here += !row.hidden;
      }
      body.hidden = !here;
      shown += here;
    }
    found.textContent = `${shown} of ${groups.reduce((sum, group) => sum + group.rows.length, 0)} texts`;
  }

  function sort(head) {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const numeric = head.classList.contains("number");
    const value = (row) => row.cells[head.cellIndex].dataset.value;
    const compare = numeric ? (a, b) => value(a) - value(b) : (a, b) => value(a).localeCompare(value(b));
    for (const { body, rows } of groups) body.append(...[...rows].sort((a, b) => (ascending ? 1 : -1) * compare(a, b)));
  }

  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
  }
  search.addEventListener("input", filter);
  search.closest(".tools").hidden = false;
  filter();
})();
