// The page: pictures go to one or several arms, which show what they find.
import { Arm } from "./arm.js";
import { percent } from "./boxes.js";
import { Camera } from "./camera.js";
import { LOWEST_CONFIDENCE, readModels, readTraffic } from "./detector.js";
import { grabFrame, openPicture } from "./pictures.js";

const REFRESH_MS = 5000;
const DEFAULT_INPUT = { width: 640, height: 640 };

const element = (id) => document.getElementById(id);
const camera = new Camera(element("video"), stopCamera);

let models = { model: "", defaultVersion: "", versions: [] };
let arms = [];
let picture = null; // the still one; null while there is none, and while the camera is on
let tally = new Map();

const isWeighted = () => document.querySelector("input[name=mode]:checked").value === "weighted";
const about = (version) => models.versions.find((each) => each.version === version);

function showPicture(next) {
  picture = next;
  document.body.dataset.state = "showing";
  return Promise.all(arms.map((arm) => look(arm)));
}

async function look(arm, pending = picture) {
  const version = await arm.look(pending);
  if (version !== null && arm.version === null) {
    tally.set(version, (tally.get(version) ?? 0) + 1);
    showTally();
  }
  if (!camera.isOn) {
    element("status").textContent = arms.map((each) => each.summary).join(". ");
  }
}

async function openStill(blob) {
  stopCamera();
  notice("");
  try {
    await showPicture(await openPicture(blob));
  } catch (failure) {
    notice(failure.message);
  }
}

async function startCamera() {
  notice("");
  const button = element("camera");
  button.disabled = true;
  try {
    await camera.open(() => arms.filter((arm) => arm.isIdle).forEach((arm) => look(arm, frameFor(arm))));
    picture = null;
    document.body.dataset.state = "showing";
    button.textContent = "Stop the camera";
    button.setAttribute("aria-pressed", "true");
    showAgain();
  } catch (failure) {
    stopCamera();
    notice(failure.message);
  }
  button.disabled = false;
}

function stopCamera() {
  if (camera.isOn) {
    camera.close();
    arms.forEach((arm) => arm.stop());
  }
  element("camera").textContent = "Use the camera";
  element("camera").setAttribute("aria-pressed", "false");
}

function frameFor(arm) {
  return grabFrame(element("video"), about(arm.version ?? models.defaultVersion)?.input_size ?? DEFAULT_INPUT);
}

function makeArms() {
  arms.forEach((arm) => arm.stop());
  const versions = isWeighted() || models.versions.length === 0 ? [null] : models.versions.map((each) => each.version);
  arms = versions.map((version) => new Arm(element("arm"), version, about));
  element("arms").replaceChildren(...arms.map((arm) => arm.element));
  element("arms").dataset.count = arms.length;
  element("weights").hidden = !isWeighted();
  applyThreshold();
  showAgain();
  if (picture) {
    showPicture(picture);
  }
}

function applyThreshold() {
  const threshold = Number(element("threshold").value) / 100;
  const { min, max, value } = element("threshold");
  element("threshold").style.setProperty("--filled", percent((value - min) / (max - min)).replace(" ", ""));
  element("threshold-value").textContent = percent(threshold);
  arms.forEach((arm) => arm.setThreshold(threshold));
}

function showAgain() {
  element("again").hidden = !isWeighted() || picture === null;
}

function showTraffic({ weights, fault }) {
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  const shares = Object.entries(weights).filter(([, weight]) => weight > 0);
  element("bar").replaceChildren(
    ...shares.map(([version, weight]) => {
      const share = document.createElement("span");
      share.style.setProperty("--share", weight);
      share.textContent = `${version} ${percent(weight / total)}`;
      return share;
    }),
  );
  if (shares.length === 0) {
    element("bar").textContent = "No weights are set: the servers' default version answers.";
  }
  element("fault").textContent = fault;
  element("fault").hidden = fault === "";
}

function showTally() {
  const counts = [...tally].sort().map(([version, count]) => `${count} by ${version}`);
  element("tally").textContent = counts.length ? `Answered so far: ${counts.join(", ")}` : "";
}

function notice(text) {
  element("notice").textContent = text;
  element("notice").hidden = text === "";
}

async function refresh() {
  if (document.hidden) {
    return;
  }
  const [nowModels, nowTraffic] = await Promise.allSettled([readModels(), readTraffic()]);
  if (nowTraffic.status === "fulfilled") {
    showTraffic(nowTraffic.value);
  }
  if (nowModels.status === "fulfilled") {
    const names = (each) => each.versions.map(({ version }) => version).join(" ");
    const isNew = names(nowModels.value) !== names(models);
    const isFirst = models.versions.length === 0;
    models = nowModels.value;
    if (isFirst) {
      const usual = about(models.defaultVersion)?.default_options?.confidence_threshold ?? LOWEST_CONFIDENCE;
      element("threshold").value = Math.round(usual * 100);
    }
    if (isNew) {
      makeArms();
    }
  }
}

element("choose").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", ({ target }) => {
  if (target.files.length) {
    openStill(target.files[0]);
  }
  target.value = ""; // so that the same file can be chosen again
});
element("camera").addEventListener("click", () => {
  if (camera.isOn) {
    stopCamera();
  } else {
    startCamera();
  }
});
element("again").addEventListener("click", () => showPicture(picture));
element("threshold").addEventListener("input", applyThreshold);
document.querySelectorAll("input[name=mode]").forEach((mode) => mode.addEventListener("change", makeArms));
document.querySelectorAll("[data-sample]").forEach((button) =>
  button.addEventListener("click", async () => openStill(await (await fetch(button.dataset.sample)).blob())),
);
document.addEventListener("paste", ({ clipboardData }) => {
  const [file] = clipboardData.files;
  if (file) {
    openStill(file);
  }
});

let dragged = 0; // elements that something is over; 0 once it has left the page
const drag = (change) => (event) => {
  event.preventDefault();
  dragged = change === null ? 0 : dragged + change;
  document.body.classList.toggle("dragging", dragged > 0);
};
document.addEventListener("dragenter", drag(+1));
document.addEventListener("dragleave", drag(-1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  drag(null)(event);
  const [file] = event.dataTransfer.files;
  if (file) {
    openStill(file);
  }
});
document.addEventListener("visibilitychange", refresh);

makeArms();
await refresh();
setInterval(refresh, REFRESH_MS);
