// The messages that the page sends and reads: for each field its number and type, and "repeated" where it is a list.
// A test compares them with the contract, for which they have to stay JSON.
export const MESSAGES = {
  "detector.v1.DetectRequest": {
    "image": [1, "detector.v1.Image"],
    "source_size": [2, "detector.v1.ImageSize"],
    "version": [4, "string"],
    "options": [5, "detector.v1.DetectOptions"]
  },
  "detector.v1.Image": {
    "encoded": [1, "bytes"]
  },
  "detector.v1.ImageSize": {
    "width": [1, "int32"],
    "height": [2, "int32"]
  },
  "detector.v1.DetectOptions": {
    "confidence_threshold": [1, "float"]
  },
  "detector.v1.DetectResponse": {
    "request_id": [1, "string"],
    "model": [2, "string"],
    "version": [3, "string"],
    "detections": [4, "detector.v1.Detection", "repeated"],
    "image_size": [5, "detector.v1.ImageSize"],
    "timing": [7, "detector.v1.Timing"]
  },
  "detector.v1.Detection": {
    "class_id": [1, "int32"],
    "class_name": [2, "string"],
    "confidence": [3, "float"],
    "bbox": [4, "detector.v1.BoundingBox"]
  },
  "detector.v1.BoundingBox": {
    "x_min": [1, "float"],
    "y_min": [2, "float"],
    "x_max": [3, "float"],
    "y_max": [4, "float"]
  },
  "detector.v1.Timing": {
    "queue_ms": [1, "float"],
    "inference_ms": [4, "float"]
  },
  "google.rpc.Status": {
    "details": [3, "google.protobuf.Any", "repeated"]
  },
  "google.protobuf.Any": {
    "type_url": [1, "string"],
    "value": [2, "bytes"]
  },
  "google.rpc.ErrorInfo": {
    "reason": [1, "string"]
  },
  "google.rpc.RetryInfo": {
    "retry_delay": [1, "google.protobuf.Duration"]
  },
  "google.protobuf.Duration": {
    "seconds": [1, "int64"],
    "nanos": [2, "int32"]
  }
};
