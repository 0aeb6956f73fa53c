"""Write trained weights as the ONNX file of a model version.

    python examples/codes/export.py --weights runs/v2/final.pt --side 640 --out models/codes/v2/model.onnx

The numbers are stored in half precision, which makes the file half as large, and are turned to single precision when
the model is loaded: what it computes hardly changes (the largest difference is printed), nor does its speed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import network as nn
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from symbols import CLASS_NAMES

OPSET = 17
LEAST_NUMBERS = 64  # smaller tensors stay as they are


def export(weights: Path, side: int, file: Path) -> None:
    """Write the averaged weights of a training as a detector of pictures of `side` x `side` px, with an open batch."""
    size = torch.load(weights, map_location="cpu", weights_only=True).get("size", "t")
    network = nn.build(size)
    nn.load(network, weights)
    network = network.eval().fuse()
    network.head.export = True
    pictures = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network,
        (pictures,),
        str(file),
        dynamo=False,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["output"],
        dynamic_axes={"images": {0: "batch"}, "output": {0: "batch"}},
    )
    model = onnx.load(file)
    store_in_half_precision(model)
    metadata = {
        "model_family": "yolo9",  # boxes are corners
        "names": json.dumps({str(number): name for number, name in enumerate(CLASS_NAMES)}),
        "imgsz": str(side),
        "letterbox_pad": "center",
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    with torch.no_grad():
        expected = network(pictures).numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"images": pictures.numpy()})
    difference = np.abs(output - expected)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB; against the network as it was trained boxes differ by at most")
    print(f"{difference[:, :4].max():.2f} px and confidences by {difference[:, 4:].max():.5f}")


def store_in_half_precision(model: onnx.ModelProto) -> None:
    """Replace large float32 initializers by float16 ones and a Cast."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < LEAST_NUMBERS:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Export a trained detector to ONNX.")
    parser.add_argument("--weights", type=Path, required=True, help="final.pt or state.pt of a training")
    parser.add_argument("--side", type=int, required=True, help="of the pictures it is to look at, px")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file")
    options = parser.parse_args()
    export(options.weights, options.side, options.out)


if __name__ == "__main__":
    main()
