"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const standings = document.querySelector("#standings");
  const figures = JSON.parse(document.querySelector("#charts").textContent);

  // --- charts: colours of text and grid are the page's own ---------------------------------------

  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function template() {
    const line = colour("--line");
    const axis = { gridcolor: line, linecolor: line, tickcolor: line, zerolinecolor: line };
    const clear = "rgba(0,0,0,0)";
    const text = colour("--text");
    return {
      data: { bar: [{ error_x: { color: text } }] },
      layout: {
        paper_bgcolor: clear,
        plot_bgcolor: clear,
        font: { color: text, family: getComputedStyle(document.body).fontFamily },
        xaxis: axis,
        yaxis: axis,
        legend: { bgcolor: clear },
        hoverlabel: { bgcolor: colour("--card"), bordercolor: line, font: { color: text } },
        annotationdefaults: { arrowcolor: colour("--dim") },
      },
    };
  }

  const settings = {
    responsive: true,
    displaylogo: false,
    // By default there is one that uploads the chart.
    showSendToCloud: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  function draw() {
    for (const [id, figure] of Object.entries(figures)) {
      figure.layout.template = template();
      Plotly.newPlot(id, figure.data, figure.layout, settings);
    }
  }

  function recolour() {
    for (const id of Object.keys(figures)) Plotly.relayout(id, { template: template() });
  }

  /** Lines of the candidates that are ticked, and no others. */
  function show(redraw) {
    const ticked = new Set(
      all("tbody tr", standings)
        .filter((row) => row.querySelector("input")?.checked)
        .map((row) => Number(row.dataset.candidate)),
    );
    for (const entry of all(".lines li")) {
      entry.hidden = !ticked.has(Number(entry.dataset.candidate));
    }
    for (const [id, figure] of Object.entries(figures)) {
      if (figure.data.every((trace) => trace.meta === undefined)) continue;
      const visible = figure.data.map((trace) => ticked.has(trace.meta));
      figure.data.forEach((trace, place) => (trace.visible = visible[place]));
      if (redraw) Plotly.restyle(id, { visible });
    }
  }

  // --- table --------------------------------------------------------------------------------------

  function compare(a, b) {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  }

  function sort(header) {
    const body = standings.tBodies[0];
    const place = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of all("thead th", standings)) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[place].dataset.sort;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return down ? compare(y, x) : compare(x, y);
    });
    body.append(...rows);
    standings.classList.toggle("resorted", place !== 0 || down);
  }

  function filter() {
    const words = document.querySelector("#filter").value.toLowerCase().split(/\s+/);
    const group = document.querySelector("#group").value;
    const rows = [...standings.tBodies[0].rows];
    for (const row of rows) {
      const fits = words.every((word) => row.dataset.text.includes(word));
      row.hidden = !fits || (group !== "" && row.dataset.group !== group);
    }
    const left = rows.filter((row) => !row.hidden).length;
    document.querySelector("#shown").textContent = `${left} of ${rows.length} shown`;
  }

  if (!standings) return;
  for (const header of all("thead th", standings)) {
    header.querySelector("button").addEventListener("click", () => sort(header));
  }
  document.querySelector("#filter").addEventListener("input", filter);
  document.querySelector("#group").addEventListener("change", filter);
  for (const box of all("input[type=checkbox]", standings)) {
    box.addEventListener("change", () => show(true));
  }
  show(false);
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
})();
