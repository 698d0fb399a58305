// What stands around the sections of a page: the bar, and the beginning.

function bar() {
  const box = document.getElementById("runs");
  for (const run of runs) {
    const input = el("input", { type: "checkbox", value: run.index, onchange: () => { run.shown = input.checked; update(); } });
    input.checked = run.shown;
    box.append(el("label", {}, input, named(run)));
  }
  document.getElementById("chooser").hidden = !many;
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll(".bar details[open]")) if (!menu.contains(event.target)
      || event.target.closest("nav a")) menu.open = false;
  });
  const button = document.getElementById("theme");
  const dark = () => (document.documentElement.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();
}

// When all sections are there: draw them, and again for another width.
function begin() {
  bar();
  update();
  let width = window.innerWidth;
  let waiting = null;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return; // a phone's address bar
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  document.documentElement.dataset.ready = "true";
}
