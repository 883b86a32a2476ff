// Joins the timeline and the film: a click on one moves the other.
() => {
  const film = () => document.querySelector("#film video");
  const seek = (seconds) => { if (film()) film().currentTime = seconds; };
  document.addEventListener("click", (event) => {
    const time = event.target.closest("#timeline [data-at]");
    const strip = event.target.closest("#timeline .strip");
    if (time) { event.preventDefault(); seek(Number(time.dataset.at)); }
    if (strip) {
      const box = strip.getBoundingClientRect();
      seek((event.clientX - box.left) / box.width * Number(strip.dataset.seconds));
    }
  });
  document.addEventListener("timeupdate", (event) => {
    const strip = document.querySelector("#timeline .strip");
    if (strip && event.target === film()) {
      const share = film().currentTime / Number(strip.dataset.seconds);
      strip.style.setProperty("--at", `${Math.min(100, 100 * share)}%`);
    }
  }, true);
  // Gradio names some buttons otherwise than they read, and some not at all.
  new MutationObserver(() => {
    for (const button of document.querySelectorAll("#upload button, #examples button")) {
      if (button.innerText.trim()) button.removeAttribute("aria-label");
    }
    for (const button of document.querySelectorAll("#confusion button:not([aria-label])")) {
      button.setAttribute("aria-label", "The picture");
    }
  }).observe(document.body, {childList: true, subtree: true});
}
