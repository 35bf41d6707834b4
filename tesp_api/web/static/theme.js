// Runs before anything is drawn, so that nobody sees the wrong theme first. "" follows the system.
try {
  document.documentElement.dataset.theme = localStorage.getItem("tesp.theme") ?? "";
} catch {
  document.documentElement.dataset.theme = "";
}
