// Pictures as the page shows and sends them. A picture has:
//   bitmap         what is drawn, upright
//   width, height  of the upright picture, in pixels
//   encoded        the bytes to send
//   shrunk         whether those have fewer pixels than the picture
//   isFrame        whether it is a frame of a video, which only one arm looks at

const JPEG_QUALITY = 0.85;

/** The picture in a file, which is sent as it is. */
export async function openPicture(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    throw new Error("This browser cannot open that as a picture. JPEG, PNG, WebP and BMP work everywhere.");
  }
  const encoded = new Uint8Array(await blob.arrayBuffer());
  return { bitmap, width: bitmap.width, height: bitmap.height, encoded, shrunk: false, isFrame: false };
}

/** The frame that a video shows, with no more pixels than a model looks at (`input`, its width and height). */
export async function grabFrame(video, input) {
  const { videoWidth: width, videoHeight: height } = video;
  const scale = Math.min(1, input.width / width, input.height / height);
  const bitmap = await createImageBitmap(video);
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
  const encoded = new Uint8Array(await blob.arrayBuffer());
  return { bitmap, width, height, encoded, shrunk: scale < 1, isFrame: true };
}
