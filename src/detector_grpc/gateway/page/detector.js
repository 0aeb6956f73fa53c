// What the page asks the servers for.
import { call } from "./grpcweb.js";

// Asked for whatever the slider says, which then only hides: suppression keeps the same boxes above any threshold.
export const LOWEST_CONFIDENCE = 0.05;

/**
 * Finds objects in a picture.
 *
 * @param picture See pictures.js.
 * @param version Version to pin the call to; null for the one that the weights choose.
 * @returns The DetectResponse, and the milliseconds until it was there.
 * @throws CallFailed
 */
export async function detect(picture, version, signal) {
  const request = {
    image: { encoded: picture.encoded },
    source_size: picture.shrunk ? { width: picture.width, height: picture.height } : undefined,
    version: version ?? undefined,
    options: { confidence_threshold: LOWEST_CONFIDENCE },
  };
  const metadata = version === null ? {} : { "x-model-version": version };
  const began = performance.now();
  const { answer } = await call(
    "detector.v1.DetectorService/Detect",
    "detector.v1.DetectRequest",
    request,
    "detector.v1.DetectResponse",
    metadata,
    signal,
  );
  return { answer, tookMs: performance.now() - began };
}

/** The versions of the default model, each as `GET /models` has it, the default version's name, and the model's. */
export async function readModels() {
  const { versions = [], default_model: model, default_version: defaultVersion } = await readJson("/models");
  return { model, defaultVersion, versions: versions.filter((each) => each.model === model) };
}

/** How calls are shared now: weights by version, and a sentence where the gateway's files say something else. */
export async function readTraffic() {
  const { weights = {}, fault = "" } = await readJson("/traffic");
  return { weights, fault };
}

async function readJson(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (!response.ok) {
    throw new Error(`${path} answered ${response.status}`);
  }
  return response.json();
}
