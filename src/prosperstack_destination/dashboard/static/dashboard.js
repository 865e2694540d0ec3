// What pages do beyond showing: everything here is a comfort, and pages work without it.

// --- Times in words stay true -----------------------------------------------------------------------------------

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

// --- Parts of a page that change --------------------------------------------------------------------------------

const replace = (id, html) => {
  const part = document.getElementById(id);
  // Whoever types or has opened something in it is not disturbed.
  if (!part || part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return;
  if (part.querySelector("details[open]")) return;
  const focused = document.activeElement?.id && part.contains(document.activeElement) ? document.activeElement.id : null;
  part.innerHTML = html; // from this service, which writes whatever others said as text
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
    button.textContent = paused ? "Go on" : "Pause";
  });
}

// --- Copying ----------------------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const content = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(content.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(content); // without TLS there is no clipboard: it is marked, for Ctrl+C
    button.textContent = "Marked";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
});

// --- What a form answered with has an address of its own: reloading the page does not send the form again -----------

const addressed = document.querySelector("[data-address]");
if (addressed) history.replaceState(null, "", addressed.dataset.address);

// --- A form whose outcome shows while it is filled in: data-preview is where to, data-shows what ------------------
// data-preview-at-once: also as it comes; "only": then and never again.

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
      if (mine === turn) shown.textContent = "The service does not answer: is it running?";
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

// --- A part that takes a while: it is asked for when the page is there --------------------------------------------

for (const part of document.querySelectorAll("[data-load]")) {
  const load = async () => {
    // Who is in it is not disturbed.
    if (part.contains(document.activeElement)) return setTimeout(load, 1000);
    try {
      const answer = await fetch(part.dataset.load);
      part.innerHTML = await answer.text();
      part.removeAttribute("aria-busy");
      if (answer.headers.get("Refresh-After")) setTimeout(load, 1000 * Number(answer.headers.get("Refresh-After")));
    } catch {
      part.textContent = "The service does not answer: is it running?";
    }
  };
  load();
}

// --- A file into a text field --------------------------------------------------------------------------------------

for (const input of document.querySelectorAll("input[type=file][data-into]")) {
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (!file) return;
    const field = document.getElementById(input.dataset.into);
    field.value = await file.text();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

// --- Menus close when something else is clicked, and with Escape ----------------------------------------------------

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
