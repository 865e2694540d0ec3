// Progressive enhancement of the pages. All pages work without this script.

// --- Relative times --------------------------------------------------------------------------------------------

const words = (seconds) => {
  if (seconds < 1) return "less than a second";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} days ${Math.floor(minutes / 60) % 24} h`;
};

const tick = () => {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    time.textContent = seconds < 0 ? `in ${words(-seconds)}` : `${words(seconds)} ago`;
  }
};
setInterval(tick, 5000);

// --- Live updates (server-sent events) -------------------------------------------------------------------------

const replace = (id, html) => {
  const part = document.getElementById(id);
  // Keep a part while it has the focused field or an open disclosure.
  if (!part || part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return;
  if (part.querySelector("details[open]")) return;
  const focused = document.activeElement?.id && part.contains(document.activeElement) ? document.activeElement.id : null;
  part.innerHTML = html; // safe: the service escapes all values
  if (focused) document.getElementById(focused)?.focus();
};

const listen = (element) => {
  let source = null;
  const open = () => {
    source = new EventSource(element.dataset.live);
    source.addEventListener("part", (event) => {
      const part = JSON.parse(event.data);
      if (!element.dataset.paused) replace(part.id, part.html);
    });
  };
  open();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else if (source.readyState === EventSource.CLOSED) open();
  });
  addEventListener("pagehide", () => source.close());
};
for (const element of document.querySelectorAll("[data-live]")) listen(element);

for (const button of document.querySelectorAll("button[data-pause]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const element = document.getElementById(button.dataset.pause);
    const paused = !element.dataset.paused;
    if (paused) element.dataset.paused = "yes";
    else delete element.dataset.paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Resume" : "Pause";
  });
}

// --- Copy buttons ----------------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const content = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(content.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(content); // no clipboard without TLS: select the text, for Ctrl+C
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
});

// --- Address of a form's response: reloading the page does not submit the form again -------------------------------

const addressed = document.querySelector("[data-address]");
if (addressed) history.replaceState(null, "", addressed.dataset.address);

// --- Form preview: data-preview is the URL to post to, data-shows the id of the element to fill -------------------
// data-preview-at-once: also preview on load; with the value "only", preview only on load.

for (const form of document.querySelectorAll("form[data-preview]")) {
  let timer = null;
  let running = false;
  let again = false;
  // One request at a time: each names the revision of the draft that the one before has saved.
  const preview = async () => {
    again = running;
    if (running) return;
    running = true;
    const shown = document.getElementById(form.dataset.shows);
    const body = new URLSearchParams(new FormData(form));
    try {
      const answer = await fetch(form.dataset.preview, { method: "POST", body });
      shown.innerHTML = await answer.text();
      shown.dispatchEvent(new Event("shown", { bubbles: true }));
    } catch {
      shown.querySelectorAll("p, div, table, details").forEach((each) => each.remove());
      shown.append("No answer from the service. Check that it is running.");
    }
    running = false;
    if (again) preview();
  };
  if (form.dataset.previewAtOnce !== "only") {
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(preview, 300);
    });
  }
  if (form.dataset.previewAtOnce !== undefined) preview();
}

// --- Transforms of a rule: an argument field where a transform takes one, and an order by dragging or by arrows -----

for (const list of document.querySelectorAll(".transforms")) {
  const without = list.dataset.withoutArgument.split(" ");
  const examples = JSON.parse(list.dataset.examples);
  const rows = () => [...list.querySelectorAll(".clean")];
  const show = (row) => {
    const [select, argument] = [row.querySelector("select"), row.querySelector("input")];
    argument.hidden = !select.value || without.includes(select.value);
    argument.placeholder = examples[select.value] ?? "";
  };
  const renumber = () => {
    rows().forEach((row, number) => {
      row.querySelector("select").name = `rule-clean-${number}`;
      row.querySelector("input").name = `rule-argument-${number}`;
    });
    list.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const move = (row, step) => {
    const place = rows().indexOf(row) + step;
    if (place < 0 || place >= rows().length) return;
    if (step < 0) rows()[place].before(row);
    else rows()[place].after(row);
    renumber();
  };
  let dragged = null;
  for (const row of rows()) {
    const buttons = document.createElement("span");
    buttons.className = "order";
    for (const [sign, label, step] of [["↑", "Move up", -1], ["↓", "Move down", 1]]) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "quiet", textContent: sign, title: label });
      button.setAttribute("aria-label", `${label}: ${row.querySelector("select").getAttribute("aria-label")}`);
      button.addEventListener("click", () => { move(row, step); button.focus(); });
      buttons.append(button);
    }
    const handle = document.createElement("span");
    Object.assign(handle, { className: "handle", textContent: "⠿", title: "Drag to change the order" });
    handle.addEventListener("pointerdown", () => { row.draggable = true; });
    row.prepend(handle);
    row.append(buttons);
    row.addEventListener("dragstart", () => { dragged = row; });
    row.addEventListener("dragend", () => { row.draggable = false; dragged = null; renumber(); });
    row.addEventListener("dragover", (event) => {
      if (!dragged || dragged === row) return;
      event.preventDefault();
      if (rows().indexOf(dragged) < rows().indexOf(row)) row.after(dragged);
      else row.before(dragged);
    });
    row.querySelector("select").addEventListener("change", () => show(row));
    show(row);
  }
}

// --- Deferred part of a page: loaded after the page, again after Refresh-After seconds ------------------------------

for (const part of document.querySelectorAll("[data-load]")) {
  const load = async () => {
    // Keep the part while it has the focus.
    if (part.contains(document.activeElement)) return setTimeout(load, 1000);
    try {
      const answer = await fetch(part.dataset.load);
      part.innerHTML = await answer.text();
      part.removeAttribute("aria-busy");
      if (answer.headers.get("Refresh-After")) setTimeout(load, 1000 * Number(answer.headers.get("Refresh-After")));
    } catch {
      part.textContent = "No answer from the service. Check that it is running.";
    }
  };
  load();
}

// --- File import into a text field ---------------------------------------------------------------------------------

for (const input of document.querySelectorAll("input[type=file][data-into]")) {
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (!file) return;
    const field = document.getElementById(input.dataset.into);
    field.value = await file.text();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

// --- Menus: close with a click elsewhere or with Escape -------------------------------------------------------------

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.switch[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.switch[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
