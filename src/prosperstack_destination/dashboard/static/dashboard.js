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
  let turn = 0;
  const preview = async () => {
    const mine = ++turn;
    const shown = document.getElementById(form.dataset.shows);
    const body = new URLSearchParams(new FormData(form));
    try {
      const answer = await fetch(form.dataset.preview, { method: "POST", body });
      if (mine === turn) shown.innerHTML = await answer.text();
    } catch {
      if (mine === turn) shown.textContent = "No answer from the service. Check that it is running.";
    }
  };
  if (form.dataset.previewAtOnce !== "only") {
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(preview, 300);
    });
  }
  if (form.dataset.previewAtOnce !== undefined) preview();
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
