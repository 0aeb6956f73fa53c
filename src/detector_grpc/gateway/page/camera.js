// The camera: tells when there is a frame.

export class Camera {
  /**
   * @param video The element that plays what the camera sees.
   * @param onEnd Called when the camera is taken away.
   */
  constructor(video, onEnd) {
    this.video = video;
    this.onEnd = onEnd;
    this.stream = null;
  }

  get isOn() {
    return this.stream !== null;
  }

  /**
   * Opens the camera, and calls `onFrame` for each new frame until it is closed.
   *
   * @throws Error With a sentence for people.
   */
  async open(onFrame) {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers open the camera only for https:// and for localhost.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1280 } },
      });
    } catch (failure) {
      throw new Error(SENTENCES[failure.name] ?? "The camera could not be opened.");
    }
    this.stream.getTracks().forEach((track) => track.addEventListener("ended", this.onEnd));
    this.video.srcObject = this.stream;
    await this.video.play();
    const stream = this.stream;
    const next = () => {
      if (this.stream === stream) {
        onFrame();
        this.whenNext(next);
      }
    };
    this.whenNext(next);
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  whenNext(callback) {
    if ("requestVideoFrameCallback" in this.video) {
      this.video.requestVideoFrameCallback(callback);
    } else {
      requestAnimationFrame(callback);
    }
  }
}

const SENTENCES = {
  NotAllowedError: "The browser was not allowed to use the camera. The icon beside the address changes that.",
  NotFoundError: "There is no camera.",
  NotReadableError: "Another program is using the camera.",
};
