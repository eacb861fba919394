"""Pretrained Transformers as encoders: tokens of chosen layers, pooled over time, frequency bands kept.

    waveforms ─ filter bank ─ Transformer ─┬─ layer 6:  (times, bands, dims) ─ pool over time ─► bands x dims
                                           └─ layer 12: (times, bands, dims) ─ pool over time ─► bands x dims

Frozen, each layer is a part of the embedding as it is. Fine-tuned, adapters of low rank learn beside the
attention's frozen matrices, and a learnt projection brings each layer to a part of few dimensions.

Besides BEATs and EAT (`published`) there are the audio models of the library `transformers`: AST, and whatever else it
knows. They come from a folder on this machine with config.json, preprocessor_config.json and weights, as
`save_pretrained` writes them; nothing is fetched, and no code that came with a model is run. An AST's tokens are laid
out by time and band; of any other model, all tokens count as times of one band.

Source: Zheng et al., "GenRep", arXiv 2409.05035 (frozen, bands kept); Hu et al., "LoRA", ICLR 2022; Zheng et
al., arXiv 2409.07016 (LoRA on anomalous sound detection).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from asd.core.networks.encoder import Encoder
from asd.detectors.encoders.published import PUBLISHED, optional
from asd.detectors.encoders.recipe import Recipe
from asd.features.pooling import mean_pool, rdp_gem_pool, rdp_pool
from asd.types import AsdError

# name -> (batch, dims, times) -> (batch, dims)
POOLINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": mean_pool,
    "rdp4": lambda tokens: rdp_pool(tokens, 4.0),
    "rdp8": lambda tokens: rdp_pool(tokens, 8.0),
    "rdp_gem": rdp_gem_pool,
}

_AST = "audio-spectrogram-transformer"
# Names of the matrices that adapters sit beside, the first of these sets that a network has: those of
# queries and values, which is what the LoRA paper found to be enough.
_ADAPTED = (("q_proj", "v_proj"), ("query", "value"), ("qkv",))


class Pretrained(Encoder):
    """A pretrained network as an encoder; its `state_dict` is what was learnt here.

    Args:
        inputs: waveforms (batch, samples) to the spectrum that the network wants; see `detectors.encoders.published`.
        network: the spectrum to (batch, times, bands, dims) of every layer; it knows `n_layers`, `n_bands`, `n_dims` of
            these, and leaves out those beyond the first n by `shorten(n)`, where it can.
        recipe: which layers are taken, how they are pooled, and of which rank the adapters are.
        segment_samples: length of a segment.
        origin: hash of what was not learnt here.
    """

    def __init__(
        self, inputs: nn.Module, network: nn.Module, recipe: Recipe, segment_samples: int, origin: str
    ) -> None:
        super().__init__()
        body: Any = network
        shortest_samples: Any = inputs.shortest_samples
        self.layers = tuple(recipe.layers) or (body.n_layers,)
        if bad := [layer for layer in self.layers if layer > body.n_layers]:
            raise AsdError(f"embedding.layers={bad[0]} is beyond the {body.n_layers} layers of this checkpoint")
        body.shorten(max(self.layers))
        self.inputs, self.network = inputs.requires_grad_(False), network.requires_grad_(False)
        self.pooling, self.bands = recipe.pooling, recipe.bands
        self.segment_samples, self.origin = segment_samples, origin
        self.n_parts, self.n_dims = len(self.layers), body.n_dims * (body.n_bands if recipe.bands else 1)
        # Training cuts segments of one length; what it taught is then to be asked in that length.
        self.shortest_samples = segment_samples if recipe.lora_rank else min(shortest_samples, segment_samples)
        self.projections: nn.ModuleList | None = None
        if recipe.lora_rank:
            _add_adapters(network, recipe.lora_rank)
            self.projections = nn.ModuleList(nn.Linear(self.n_dims, recipe.n_dims) for _ in self.layers)
            self.n_dims = recipe.n_dims
        self.register_state_dict_post_hook(_drop_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_add_frozen)  # type: ignore[no-untyped-call]

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """What the network is given of segments (batch, samples)."""
        return [self.inputs(waveforms)]

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, layers, dims), each part of unit length."""
        outputs = self.network(spectra[0])
        parts = [self._pooled(outputs[layer - 1]) for layer in self.layers]
        if self.projections is not None:
            parts = [project(part) for project, part in zip(self.projections, parts, strict=True)]
        return normalize(torch.stack(parts, 1).float(), dim=-1)

    def _pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, times, bands, dims) -> (batch, bands * dims), or the mean over bands."""
        by_band = POOLINGS[self.pooling](tokens.permute(0, 2, 3, 1).flatten(0, 1)).unflatten(0, (-1, tokens.shape[2]))
        return by_band.flatten(1) if self.bands else by_band.mean(1)


def _add_adapters(network: nn.Module, rank: int) -> None:
    """Trainable adapters of low rank beside the attention's matrices, in place."""
    peft = optional("peft", f"embedding.lora_rank={rank}")
    names = {name.rsplit(".", 1)[-1] for name, _ in network.named_modules()}
    targets = next((wanted for wanted in _ADAPTED if names.issuperset(wanted)), None)
    if targets is None:
        raise AsdError(
            f"embedding.lora_rank={rank}: none of the attention layers that adapters are known for "
            f"({', '.join('/'.join(wanted) for wanted in _ADAPTED)}) is in this network; use lora_rank=0"
        )
    settings = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets))
    peft.inject_adapter_in_model(settings, network)


def _learnt(module: nn.Module, prefix: str) -> set[str]:
    return {prefix + name for name, parameter in module.named_parameters() if parameter.requires_grad}


def _drop_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leaves what was learnt of a state that was just gathered."""
    learnt = _learnt(module, prefix)
    for name in [name for name in state if name.startswith(prefix) and name not in learnt]:
        del state[name]


def _add_frozen(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Completes a state that is about to be loaded by the tensors that are there already."""
    learnt = _learnt(module, prefix)
    for child, inside in module.named_children():
        for name, tensor in inside.state_dict(prefix=f"{prefix}{child}.").items():
            if name not in learnt:
                state[name] = tensor


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
    """A model of the library, of one with a decoder its encoder, as `Pretrained` takes a network."""

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
