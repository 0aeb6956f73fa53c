// Boxes and their labels, drawn so that they can be read over any picture and at any size.

// Light enough for dark letters, and far enough apart for most kinds of colour blindness.
const COLORS = [
  "#ffb224", "#5cc8ff", "#7ee081", "#ff8fb1", "#c3a6ff", "#ffe14d", "#4fe0d0", "#ff9e64", "#a8c7fa", "#d2e86a",
];
const INK = "#101318";
const LINE_PX = 2.5;
const HALO_PX = 5;
const FONT_PX = 13;
const LABEL_PX = FONT_PX + 8;

/** The colour of a class, the same in every picture. */
export function colorOf(classId) {
  return COLORS[classId % COLORS.length];
}

/** "92 %" */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/**
 * Draws a picture with its boxes.
 *
 * @param canvas As wide and high as it is laid out.
 * @param picture See pictures.js.
 * @param detections Most confident first; boxes are in pixels of the picture.
 */
export function draw(canvas, picture, detections) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.drawImage(picture.bitmap, 0, 0, width, height);
  const boxes = detections.map((detection) => scaled(detection.bbox, width / picture.width, height / picture.height));
  detections.forEach((detection, index) => drawBox(context, boxes[index], colorOf(detection.class_id)));
  context.font = `600 ${FONT_PX}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const taken = [];
  detections.forEach((detection, index) => {
    const text = `${detection.class_name} ${percent(detection.confidence)}`;
    const label = place(boxes[index], context.measureText(text).width + 10, width, height, taken);
    taken.push(label);
    drawLabel(context, label, text, colorOf(detection.class_id));
  });
}

function scaled(box, scaleX, scaleY) {
  return {
    left: box.x_min * scaleX,
    top: box.y_min * scaleY,
    right: box.x_max * scaleX,
    bottom: box.y_max * scaleY,
  };
}

function drawBox(context, { left, top, right, bottom }, color) {
  for (const [width, style] of [[HALO_PX, "rgb(16 19 24 / 55%)"], [LINE_PX, color]]) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.lineJoin = "round";
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

function drawLabel(context, { left, top, right }, text, color) {
  context.fillStyle = color;
  context.beginPath();
  context.roundRect(left, top, right - left, LABEL_PX, 4);
  context.fill();
  context.fillStyle = INK;
  context.fillText(text, left + 5, top + LABEL_PX / 2 + 0.5);
}

/** Where a label goes: above its box, else below, else inside; the first place where it hides no other, inside the picture. */
function place(box, labelWidth, width, height, taken) {
  const left = Math.max(0, Math.min(box.left - LINE_PX / 2, width - labelWidth));
  const places = [box.top - LABEL_PX - 2, box.bottom + 2, box.top + 3, box.bottom - LABEL_PX - 3]
    .map((top) => Math.max(0, Math.min(top, height - LABEL_PX)))
    .map((top) => ({ left, top, right: left + labelWidth, bottom: top + LABEL_PX }));
  return places.find((each) => !taken.some((other) => overlap(each, other))) ?? places[0];
}

function overlap(one, other) {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}
