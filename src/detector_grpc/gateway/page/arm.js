// One arm: a version that every call is pinned to, or whichever the weights choose. It looks at one picture at a time, and
// shows what it found in that very picture.
import { draw, colorOf, percent } from "./boxes.js";
import { detect } from "./detector.js";

const FIRST_WAIT_S = 0.5;

export class Arm {
  /**
   * @param template What an arm looks like.
   * @param version Version to pin to; null for the one that the weights choose.
   * @param about Says what can be found: a function from a version's name to its entry in `GET /models`.
   */
  constructor(template, version, about) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`[data-part="${name}"]`);
    this.version = version;
    this.about = about;
    this.threshold = 0;
    this.looking = null;
    this.waitUntil = 0;
    this.part("name").textContent = version ?? "By weight";
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  /** Whether it can take the next frame. */
  get isIdle() {
    return this.looking === null && performance.now() >= this.waitUntil;
  }

  /** What is shown, in words. */
  get summary() {
    return `${this.version ?? this.answer?.version ?? ""}: ${this.part("canvas").getAttribute("aria-label")}`;
  }

  /**
   * Looks at a picture, or at one that is still being made, instead of the one before.
   *
   * @returns The version that answered; null if none did, which is shown.
   */
  async look(pending) {
    this.looking?.abort();
    const looking = new AbortController();
    this.looking = looking;
    this.element.setAttribute("aria-busy", "true");
    let picture = null;
    try {
      picture = await pending;
      const { answer, tookMs } = await detect(picture, this.version, looking.signal);
      looking.signal.throwIfAborted();
      this.show(picture, answer, tookMs);
      return answer.version;
    } catch (failure) {
      if (!looking.signal.aborted) {
        this.showFailure(picture ?? this.picture, failure);
      }
      return null;
    } finally {
      if (picture?.isFrame && this.picture !== picture) {
        picture.bitmap.close();
      }
      if (this.looking === looking) {
        this.looking = null;
        this.element.removeAttribute("aria-busy");
      }
    }
  }

  /** Takes back what it shows. */
  stop() {
    this.looking?.abort();
    this.looking = null;
    this.waitUntil = 0;
  }

  /** Hides what is less sure than this. */
  setThreshold(threshold) {
    this.threshold = threshold;
    this.redraw();
  }

  show(picture, answer, tookMs) {
    this.keep(picture);
    this.answer = answer;
    this.part("failure").hidden = true;
    this.part("took").textContent = `${Math.round(tookMs)} ms`;
    this.part("model").textContent = `model ${Math.round(answer.timing?.inference_ms ?? 0)} ms`;
    this.part("answered").textContent = this.version === null ? `${answer.version} answered` : answer.model;
    this.redraw();
  }

  showFailure(picture, failure) {
    this.keep(picture);
    this.answer = null;
    this.waitUntil = performance.now() + (failure.retryAfterS ?? FIRST_WAIT_S) * 1000;
    this.part("failure").hidden = false;
    this.part("failure-text").textContent = failure.message;
    this.part("failure-code").textContent = [failure.code, failure.reason].filter(Boolean).join(" · ");
    this.part("took").textContent = "";
    this.part("model").textContent = "";
    this.redraw();
  }

  keep(picture) {
    if (this.picture?.isFrame && this.picture !== picture) {
      this.picture.bitmap.close();
    }
    this.picture = picture;
  }

  redraw() {
    if (!this.picture) {
      return;
    }
    const shown = (this.answer?.detections ?? []).filter((each) => each.confidence >= this.threshold);
    const canvas = this.part("canvas");
    this.element.style.setProperty("--ratio", this.picture.width / this.picture.height);
    draw(canvas, this.picture, shown);
    this.element.dataset.boxes = this.answer ? shown.length : "";
    canvas.setAttribute("aria-label", this.answer ? described(shown) : "The picture");
    this.part("found").replaceChildren(...grouped(shown).map(chip));
    this.part("found").hidden = shown.length === 0;
    this.part("nothing").hidden = this.answer === null || shown.length > 0;
    if (!this.part("nothing").hidden) {
      this.explainNothing();
    }
  }

  explainNothing() {
    const { model, version, detections } = this.answer;
    const [best] = detections;
    this.part("nothing-title").textContent = best
      ? `Nothing at ${percent(this.threshold)} or more; the best guess is ${best.class_name}, ${percent(best.confidence)}.`
      : "Nothing found.";
    this.part("nothing-model").textContent = `${model} ${version}`;
    this.part("classes").replaceChildren(...(this.about(version)?.class_names ?? []).map(item));
  }
}

/** "3 objects: 2 qr_code, 1 aztec" */
function described(detections) {
  const parts = grouped(detections).map(({ name, count }) => `${count} ${name}`);
  const count = detections.length === 1 ? "1 object" : `${detections.length} objects`;
  return parts.length ? `${count}: ${parts.join(", ")}` : "Nothing found";
}

function grouped(detections) {
  const groups = new Map();
  for (const { class_id: id, class_name: name, confidence } of detections) {
    const group = groups.get(id) ?? { id, name, count: 0, best: confidence };
    group.count += 1;
    groups.set(id, group);
  }
  return [...groups.values()];
}

function chip({ id, name, count, best }) {
  const element = item(name);
  element.style.setProperty("--color", colorOf(id));
  const figures = document.createElement("span");
  figures.textContent = count > 1 ? `${count} × up to ${percent(best)}` : percent(best);
  element.append(" ", figures);
  return element;
}

function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}
