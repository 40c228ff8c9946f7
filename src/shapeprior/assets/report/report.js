// The table of all results and the view of one. Names and reasons come from files: they are only ever set as text.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const metrics = read("metrics"), view = read("view"), scenes = read("scenes");
  const $ = (id) => document.getElementById(id);
  const definitions = metrics.definitions, names = Object.keys(definitions), PAGE = 150;

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function show(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-4) return value.toExponential(1);
    if (size >= 1000) return Math.round(value).toLocaleString("en");
    return value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(size))));
  }

  const rows = metrics.rows.map((row, number) => ({ ...row, number, words: view.conditions[number], taskText: view.tasks[row.task] || row.task }));
  const part = () => $("filter-part").value;
  const valueOf = (row, name) => (((part() === "all" ? row.metrics : row[part()]) || {})[name] ?? null);
  const higher = (name) => definitions[name].better === "higher";
  const arrow = (name) => ({ higher: " ↑", lower: " ↓", one: " → 1" })[definitions[name].better];

  const columns = [
    { key: "id", title: "shape", value: (row) => row.id },
    { key: "method", title: "method", value: (row) => row.method },
    { key: "task", title: "task", value: (row) => row.task },
    { key: "condition", title: "condition", value: (row) => row.words },
    ...names.map((name) => ({ key: "metric:" + name, title: name + arrow(name), hint: `${definitions[name].text} (${definitions[name].unit})`, number: true, worstFirst: higher(name) ? 1 : -1, rank: (value) => (definitions[name].better === "one" ? Math.abs(value - 1) : value), value: (row) => valueOf(row, name) })),
    { key: "seconds", title: "seconds", number: true, worstFirst: -1, value: (row) => row.seconds },
    { key: "verdict", title: "verdict", value: (row) => row.verdict },
    { key: "failure", title: "failure", value: (row) => row.failure },
  ];

  let order = { key: "metric:" + view.main, direction: higher(view.main) ? 1 : -1 }, found = rows, shown = PAGE;

  function options(select, values, all) {
    select.replaceChildren(...(all ? [new Option(all, "")] : []), ...values.map(([value, text]) => new Option(text, value)));
  }
  const distinct = (value) => [...new Set(rows.map(value))].filter((item) => item !== null && item !== undefined);
  const methods = distinct((row) => row.method), verdicts = distinct((row) => row.verdict);
  options($("filter-method"), methods.map((name) => [name, name]), "all");
  options($("filter-task"), distinct((row) => row.task).map((name) => [name, view.tasks[name] || name]), "all");
  options($("filter-condition"), distinct((row) => row.words).map((name) => ["=" + name, name || "none"]), "all");
  options($("filter-verdict"), verdicts.map((name) => [name, name]), "all");
  options($("filter-part"), [["all", "whole"], ...["seen", "unseen"].filter((name) => rows.some((row) => row[name])).map((name) => [name, name])]);
  if (methods.includes(view.prior)) $("filter-method").value = view.prior;

  function compare(a, b) {
    const column = columns.find((item) => item.key === order.key), x = column.value(a), y = column.value(b);
    // Failed rows are the worst of all, whatever they score; what has no value comes last, whichever way.
    if (column.key.startsWith("metric:") && Boolean(a.failure) !== Boolean(b.failure)) return (a.failure ? -1 : 1) * (order.direction === column.worstFirst ? 1 : -1);
    if (x === null || x === undefined || x === "") return y === null || y === undefined || y === "" ? a.number - b.number : 1;
    if (y === null || y === undefined || y === "") return -1;
    const rank = column.rank || ((value) => value);
    const sign = column.number ? rank(x) - rank(y) : x < y ? -1 : x > y ? 1 : 0;
    return sign * order.direction || a.number - b.number;
  }

  function update() {
    const text = $("filter-id").value.trim().toLowerCase(), condition = $("filter-condition").value;
    found = rows.filter((row) =>
      (!text || row.id.toLowerCase().includes(text)) &&
      (!$("filter-method").value || row.method === $("filter-method").value) &&
      (!$("filter-task").value || row.task === $("filter-task").value) &&
      (!condition || row.words === condition.slice(1)) &&
      (!$("filter-verdict").value || row.verdict === $("filter-verdict").value) &&
      (!$("filter-failures").checked || row.failure)).sort(compare);
    shown = PAGE;
    draw();
  }

  function draw() {
    const head = make("tr");
    for (const column of columns) {
      const cell = make("th"), button = make("button", column.title + (order.key === column.key ? (order.direction > 0 ? " ▲" : " ▼") : ""));
      cell.scope = "col";
      if (column.number) cell.className = "n";
      if (order.key === column.key) cell.setAttribute("aria-sort", order.direction > 0 ? "ascending" : "descending");
      if (column.hint) button.title = column.hint;
      button.type = "button";
      button.dataset.key = column.key;
      cell.append(button);
      head.append(cell);
    }
    $("rows").tHead.replaceChildren(head);
    $("rows").tBodies[0].replaceChildren(...found.slice(0, shown).map(line));
    $("more").hidden = shown >= found.length;
    $("count").textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} results` + (shown < found.length ? `, the first ${shown} shown` : "");
  }

  function line(row) {
    const tr = make("tr", undefined, row.failure ? "failed" : "");
    for (const column of columns) {
      const value = column.value(row), td = make("td", undefined, column.number ? "n" : column.key === "id" ? "id" : column.key === "failure" ? "reason" : "text");
      if (column.key === "id") {
        const button = make("button", value);
        button.type = "button";
        button.dataset.row = row.number;
        td.append(button);
      } else td.textContent = column.number ? show(value) : value ?? "";
      tr.append(td);
    }
    return tr;
  }

  $("rows").tHead.addEventListener("click", (event) => {
    const key = event.target.dataset.key;
    if (!key) return;
    const column = columns.find((item) => item.key === key);
    order = { key, direction: order.key === key ? -order.direction : column.worstFirst || 1 };
    update();
    for (const button of $("rows").tHead.querySelectorAll("button")) if (button.dataset.key === key) button.focus();
  });
  $("filters").addEventListener("input", update);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("stage-controls").addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", () => { shown += PAGE; draw(); });
  document.addEventListener("click", (event) => {
    const target = event.target.closest && event.target.closest("[data-row]");
    if (target) open(Number(target.dataset.row));
  });

  // One result.
  let viewer, current = null, stageRow = null;
  const cache = new Map();

  function open(number) {
    const row = rows[number], dialog = $("detail");
    current = row;
    $("detail-title").textContent = row.id;
    const views = (row.views || []).map((item) => `camera at azimuth ${Math.round(item.azimuth_deg)}°, elevation ${Math.round(item.elevation_deg)}°`);
    const words = [row.method, row.taskText, row.words, row.verdict && `verdict: ${row.verdict}`, row.explained !== null && row.explained !== undefined && `${Math.round(100 * row.explained)} % of the points explained`, row.seconds !== null && row.seconds !== undefined && `${show(row.seconds)} s`, ...views];
    $("detail-text").textContent = words.filter(Boolean).join(" · ");
    $("detail-failure").hidden = !row.failure;
    $("detail-failure").textContent = row.failure ? `Failed: ${row.failure}` : "";
    const picture = document.getElementById("picture-" + number);
    $("detail-picture").hidden = !picture;
    if (picture) { $("detail-picture").src = picture.src; $("detail-picture").alt = picture.alt; }
    metricsTable(row);
    if (!dialog.open) dialog.showModal();
    stage(row);
  }

  function metricsTable(row) {
    const parts = ["all", "seen", "unseen"].filter((name) => name === "all" || row[name]);
    const head = make("tr"), body = make("tbody"), top = make("thead");
    for (const text of ["metric", ...parts.map((name) => (name === "all" ? "whole surface" : name)), "unit"]) head.append(make("th", text, text === "metric" || text === "unit" ? "" : "n"));
    for (const name of names) {
      const tr = make("tr"), label = make("th", name + arrow(name));
      label.title = definitions[name].text;
      tr.append(label, ...parts.map((item) => make("td", show((item === "all" ? row.metrics : row[item])[name]), "n")), make("td", definitions[name].unit));
      body.append(tr);
    }
    top.append(head);
    $("detail-metrics").replaceChildren(top, body);
  }

  function message(text) {
    $("stage").hidden = Boolean(text);
    $("detail-legend").hidden = Boolean(text);
    $("stage-message").hidden = !text;
    $("stage-message").textContent = text || "";
  }

  function stage(row) {
    const same = rows.filter((other) => other.id === row.id && other.task === row.task && other.words === row.words && scenes.rows[other.number]);
    if (!same.length) return message("This result has neither pictures nor 3D here: there is no room for all. Its meshes are beside the report.");
    options($("stage-method"), same.map((other) => [String(other.number), other.method + (other.failure ? " (failed)" : "")]));
    stageRow = same.includes(row) ? row : same[0];
    $("stage-method").value = String(stageRow.number);
    message("");
    if (viewer === undefined) viewer = createViewer($("canvas"), view.stops);
    if (!viewer) return message("This browser shows no 3D (WebGL is missing or switched off). The pictures show the same from one side.");
    refresh();
  }

  function corners(kind, name, distances) {
    const key = JSON.stringify([kind, name, Boolean(distances), distances ? stageRow.number : 0]);
    if (!cache.has(key)) {
      if (cache.size > 12) cache.delete(cache.keys().next().value);
      const packed = scenes.surfaces[name];
      cache.set(key, kind === "points" ? pointCorners(packed) : meshCorners(packed, distances));
    }
    return cache.get(key);
  }

  function refresh() {
    if (!viewer || !stageRow) return;
    const scene = scenes.rows[stageRow.number], on = (id) => $(id).checked, errors = on("show-errors"), beside = on("show-beside");
    const completion = on("show-completion") && scene.mesh !== null && { name: stageRow.method, data: corners("mesh", scene.mesh, scene.wrong), tint: [0.56, 0.68, 0.83], byValue: errors && scene.wrong !== null, alpha: 1 };
    const truth = on("show-truth") && scene.truth !== null && { name: "truth", data: corners("mesh", scene.truth, scene.missing), tint: [0.72, 0.74, 0.70], byValue: errors && scene.missing !== null, alpha: 1 };
    const points = on("show-points") && scene.points !== null && { name: "observed points", data: corners("points", scene.points), tint: [0.80, 0.30, 0.10], byValue: false, alpha: 1, dots: true };
    const meshes = [completion, truth].filter(Boolean);
    let panes = beside ? meshes.map((layer) => [layer]) : [meshes];
    if (!beside && meshes.length === 2) panes = [[completion, { ...truth, alpha: 0.4 }]];
    if (!panes.length) panes = [[]];
    if (points) panes = panes.map((layers) => [...layers, points]);
    $("stage-names").replaceChildren(...panes.map((layers) => make("span", layers.map((layer) => layer.name).join(" + ") || "nothing to show")));
    viewer.show(panes);
  }

  $("stage-controls").addEventListener("input", () => { stageRow = rows[Number($("stage-method").value)]; refresh(); });
  $("stage-reset").addEventListener("click", () => viewer && viewer.reset());
  $("detail-close").addEventListener("click", () => $("detail").close());
  function step(by) {
    const place = found.indexOf(current), next = found[(place + by + found.length) % found.length];
    if (next) open(next.number);
  }
  $("detail-previous").addEventListener("click", () => step(-1));
  $("detail-next").addEventListener("click", () => step(1));

  update();
  document.documentElement.dataset.ready = "true";
})();
