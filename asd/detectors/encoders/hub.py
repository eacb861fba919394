"""Audio models of the library `transformers`, from a folder on this machine: AST and whatever else it knows.

The folder holds config.json, preprocessor_config.json and weights, as `save_pretrained` writes them. Nothing
is fetched, and no code that came with a model is run. An AST's tokens are laid out by time and band; of any
other model, all tokens count as times of one band.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from asd.detectors.encoders.published import PUBLISHED, optional
from asd.types import AsdError

_AST = "audio-spectrogram-transformer"


class HubInput(nn.Module):
    """The model's own feature extractor, which works on the CPU.

    Args:
        shortest_samples: least length of an input; most extractors fill up with silence what is shorter.
    """

    def __init__(self, extractor: Any, shortest_samples: int) -> None:
        super().__init__()
        self.extractor, self.shortest_samples = extractor, shortest_samples
        self.is_ast = _is_ast(extractor)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> what the model takes; (batch, bands, frames) of an AST."""
        clips = list(waveforms.detach().float().cpu().numpy())
        features = self.extractor(clips, sampling_rate=self.extractor.sampling_rate, return_tensors="pt")
        values: torch.Tensor = next(iter(features.values())).to(waveforms.device)
        return values.mT if self.is_ast else values


class HubNetwork(nn.Module):
    """A model of the library, of one with a decoder its encoder, as a `pretrained.Body`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        config = model.config
        self.n_layers, self.n_dims, self.n_bands, self.n_special = (config.num_hidden_layers, config.hidden_size, 1, 0)
        self.is_ast = config.model_type == _AST
        if self.is_ast:
            self.n_bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
            self.n_special = 2  # a token for the clip and one for distillation

    def shorten(self, n_layers: int) -> None:
        """Nothing: where a model of the library keeps its layers is its own business."""

    def forward(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Output of every layer, a list of (batch, times, bands, dims)."""
        result = self.model(values.mT if self.is_ast else values, output_hidden_states=True)
        tokens = [hidden[:, self.n_special :] for hidden in result.hidden_states[1:]]
        # An AST counts its patches along time first.
        return [x.unflatten(1, (self.n_bands, -1)).transpose(1, 2) for x in tokens]


def load_hub(encoder: str, folder: Path, sample_rate_hz: int, window_s: float) -> tuple[HubInput, HubNetwork]:
    """Feature extractor and model of a folder.

    Args:
        encoder: "ast", or "transformers" for any model.
        folder: written by `save_pretrained`, or a snapshot of a published one.
    """
    library = optional("transformers", f"embedding.encoder={encoder}")
    library.utils.logging.disable_progress_bar()  # reading a file is not long work
    try:
        extractor = library.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        model, found = library.AutoModel.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        raise AsdError(
            f"{folder} is no audio model of transformers ({reason}); wanted is {PUBLISHED[encoder]}"
        ) from error
    kind = model.config.model_type
    if encoder == "ast" and kind != _AST:
        raise AsdError(f"{folder} is a checkpoint of another model ({kind}); wanted is {PUBLISHED['ast']}")
    if found["missing_keys"]:
        raise AsdError(
            f"{folder} lacks {len(found['missing_keys'])} weights of its model ({min(found['missing_keys'])}), which "
            f"would be random; wanted is {PUBLISHED[encoder]}"
        )
    if extractor.sampling_rate != sample_rate_hz:
        raise AsdError(
            f"{folder} takes {extractor.sampling_rate} Hz and the recordings have {sample_rate_hz} Hz; resample them"
        )
    if _is_ast(extractor) and window_s * 100 > extractor.max_length:
        raise AsdError(
            f"embedding.window_s={window_s:g} is longer than the {extractor.max_length / 100:g} s that {folder} "
            f"takes at once; lower it"
        )
    network = HubNetwork(model.get_encoder() if model.config.is_encoder_decoder else model)
    return HubInput(extractor, round(window_s * sample_rate_hz)), network


def _is_ast(extractor: Any) -> bool:
    return type(extractor).__name__ == "ASTFeatureExtractor"
