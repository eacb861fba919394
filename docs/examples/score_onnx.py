"""Score recordings with an exported graph: onnxruntime and soundfile alone, nothing else of this package.

python score_onnx.py fan.onnx recording.wav ...
"""

import sys

import numpy as np
import onnxruntime
import soundfile


def main(graph: str, *paths: str) -> int:
    """Prints score and decision of each recording; returns 1 where one is called anomalous."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    threshold, rate_hz = float(about["threshold"]), int(about["sample_rate_hz"])
    asks_for_section = any(given.name == "section" for given in session.get_inputs())
    n_above = 0
    for path in paths:
        channels, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        if sample_rate_hz != rate_hz:
            sys.exit(f"{path} has {sample_rate_hz} Hz, not {rate_hz} Hz: ffmpeg -i IN -ar {rate_hz} OUT.wav resamples")
        if len(channels) < int(about["least_samples"]):
            sys.exit(f"{path} has {len(channels)} samples, and the model needs {about['least_samples']}")
        if not np.isfinite(channels).all():
            sys.exit(f"{path} holds samples that are no numbers, whose score would be above no threshold")
        channel, n = about["channel"], int(about["microphones"])  # the microphone, or the mean of all
        sound = channels.mean(1) if channel == "mean" else channels[:, int(channel)]
        given = {"waveform": sound[None] if n == 1 else channels.T[None, :n]}  # full scale is 1
        if asks_for_section:
            given["section"] = np.array([int(about["section_numbers"].split(",")[0])])  # which one it is, you know
        score = session.run(["score"], given)[0][0]
        n_above += score > threshold
        print(f"{path}\t{score:.6f}\t{'anomalous' if score > threshold else 'normal'}")
    return int(n_above > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
