const redraws = [];

function mount(host) {
  if (host.dataset.mounted) return;
  host.dataset.mounted = "yes";
  if (host.classList.contains("plot")) redraws.push(mountPlot(host));
  else if (host.classList.contains("compare")) redraws.push(mountCompare(host));
  else mountTables(host);
}

/** Draw all that is not folded away: then nothing moves under a reader who jumps, and nothing is missing on paper. */
function mountAll() {
  hosts.forEach((host) => {
    if (!host.closest("details:not([open])")) mount(host);
  });
}

const hosts = document.querySelectorAll(".tableview, .plot, .compare");
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      watcher.unobserve(entry.target);
      mount(entry.target);
    }
  }
}, { rootMargin: "600px" });
inflated.then(() => {
  hosts.forEach((host) => watcher.observe(host));
  document.querySelectorAll(".gallery[data-at]").forEach(mountUnfolded);
  document.querySelectorAll("nav a").forEach((link) => link.addEventListener("click", mountAll));
  if (location.hash && !location.hash.startsWith(VIEW)) {
    mountAll();
    const jump = () => document.getElementById(location.hash.slice(1))?.scrollIntoView({ behavior: "instant" });
    jump();
    addEventListener("load", jump); // pictures above have their height now
  }
});

const STORED = "anomaly-bench-theme";
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");

/** What the reader chose earlier; a browser may keep nothing for a file. */
function storedTheme() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function isDark() {
  return (document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
}

function showTheme() {
  themeButton.textContent = isDark() ? "Light theme" : "Dark theme";
  redraws.forEach((draw) => draw());
}

function chooseTheme(theme) {
  document.documentElement.dataset.theme = theme;
  showTheme();
}

const stored = storedTheme();
if (stored === "dark" || stored === "light") document.documentElement.dataset.theme = stored;
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  chooseTheme(isDark() ? "light" : "dark");
  try {
    localStorage.setItem(STORED, document.documentElement.dataset.theme);
  } catch {
    // nothing is kept: the choice holds for this visit
  }
});
prefersDark.addEventListener("change", showTheme);
showTheme();

let screenTheme;
addEventListener("beforeprint", () => {
  mountAll();
  document.body.classList.add("printing");
  screenTheme = document.documentElement.dataset.theme;
  chooseTheme("light");
});
addEventListener("afterprint", () => {
  document.body.classList.remove("printing");
  if (screenTheme === undefined) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = screenTheme;
  showTheme();
});
