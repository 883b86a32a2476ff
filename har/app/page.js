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
  // Gradio is silent where the camera is refused.
  const say = (why) => {
    const now = document.querySelector("#now");
    document.querySelector("#refused")?.remove();
    now?.insertAdjacentHTML("beforebegin", "<p id='refused' role='alert'></p>");
    const told = document.querySelector("#refused");
    if (told) told.textContent = why;
  };
  const media = navigator.mediaDevices;
  if (media) {
    const ask = media.getUserMedia.bind(media);
    media.getUserMedia = (wanted) => ask(wanted).then((stream) => {
      document.querySelector("#refused")?.remove();
      return stream;
    }, (error) => {
      say(error.name === "NotAllowedError"
        ? "The browser refused the camera. Allow it for this page and click again."
        : `There is no camera to use (${error.name}). Connect one, or upload a video.`);
      throw error;
    });
  } else {
    document.addEventListener("click", (event) => {
      if (event.target.closest("#camera")) {
        say("Browsers give a camera to pages at https:// or at localhost only.");
      }
    });
  }
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
