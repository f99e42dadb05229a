// Runs before the page is drawn, so that it never shows in the wrong colours. Not a module for that reason.
(() => {
  const root = document.documentElement;
  const stored = (() => {
    try {
      return localStorage.getItem("mull.theme");
    } catch {
      return null;
    }
  })();
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    root.dispatchEvent(new Event("themechange"));
  };
  apply(stored);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    root.dispatchEvent(new Event("themechange")),
  );
  document.addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = root.dataset.theme ?? "auto";
    choice.addEventListener("change", () => {
      try {
        localStorage.setItem("mull.theme", choice.value);
      } catch {
        /* only for this visit, then */
      }
      apply(choice.value);
    });
  });
})();
