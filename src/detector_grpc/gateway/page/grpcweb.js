// Unary calls by gRPC-Web, which Envoy turns into gRPC.
import { decode, encode, sizeOf } from "./protobuf.js";

const TRAILERS = 0x80;
const CODES = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
  "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
];

/** A call that failed: canonical code, a sentence, the reason of ErrorInfo ("" if none) and the seconds to wait. */
export class CallFailed extends Error {
  constructor(code, message, { reason = "", retryAfterS = null } = {}) {
    super(message || code);
    this.code = code;
    this.reason = reason;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * Makes one call.
 *
 * @param method "package.Service/Method".
 * @param requestType Full name of the request's message; `responseType` likewise.
 * @param metadata Headers to send.
 * @returns The answer and the headers that came with it.
 * @throws CallFailed
 */
export async function call(method, requestType, request, responseType, metadata, signal) {
  const response = await send(method, encode(requestType, request), metadata, signal);
  if (!(response.headers.get("content-type") ?? "").startsWith("application/grpc-web")) {
    throw await failureOfProxy(response);
  }
  const { message, trailers } = readFrames(new Uint8Array(await response.arrayBuffer()));
  const status = trailers.get("grpc-status") ?? response.headers.get("grpc-status");
  if (status !== "0" || message === null) {
    const ends = trailers.has("grpc-status") ? trailers : response.headers;
    throw failure(Number(status ?? 2), ends.get("grpc-message") ?? "", ends.get("grpc-status-details-bin"));
  }
  return { answer: decode(responseType, message), headers: response.headers };
}

async function send(method, chunks, metadata, signal) {
  const prefix = new DataView(new ArrayBuffer(5));
  prefix.setUint32(1, sizeOf(chunks));
  const headers = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1", ...metadata };
  try {
    return await fetch(`/${method}`, { method: "POST", headers, body: new Blob([prefix, ...chunks]), signal });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new CallFailed("UNAVAILABLE", "The server cannot be reached.");
  }
}

function readFrames(bytes) {
  let message = null;
  let trailers = new Map();
  for (let start = 0; start + 5 <= bytes.length; ) {
    const length = new DataView(bytes.buffer, bytes.byteOffset + start + 1, 4).getUint32(0);
    const body = bytes.subarray(start + 5, start + 5 + length);
    if (bytes[start] & TRAILERS) {
      trailers = parseTrailers(new TextDecoder().decode(body));
    } else {
      message = body;
    }
    start += 5 + length;
  }
  return { message, trailers };
}

function parseTrailers(text) {
  const lines = text.split("\r\n").filter((line) => line.includes(":"));
  return new Map(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}

function failure(status, message, details) {
  return new CallFailed(CODES[status] ?? "UNKNOWN", decodeURIComponent(message), details ? parseDetails(details) : {});
}

function parseDetails(base64) {
  const found = {};
  for (const { type_url: type, value } of decode("google.rpc.Status", fromBase64(base64)).details) {
    if (type.endsWith("/google.rpc.ErrorInfo")) {
      found.reason = decode("google.rpc.ErrorInfo", value).reason;
    } else if (type.endsWith("/google.rpc.RetryInfo")) {
      const delay = decode("google.rpc.RetryInfo", value).retry_delay;
      found.retryAfterS = delay ? delay.seconds + delay.nanos / 1e9 : 0;
    }
  }
  return found;
}

function fromBase64(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** What a proxy answers in place of a server: the JSON of our gateway, or a bare status of another. */
async function failureOfProxy(response) {
  const body = await response.json().catch(() => ({}));
  return new CallFailed(
    CODES[body.code] ?? "UNAVAILABLE",
    body.message ?? `The gateway answered ${response.status} ${response.statusText}.`,
  );
}
