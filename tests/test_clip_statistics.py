from __future__ import annotations

import itertools

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.features.clip_statistics import POOLED_VIEWS, VIEWS, ClipStatistics, window_samples
from asd.features.logmel import LogMel, band_means, log_edges, mel_filters
from asd.features.spectral_statistics import frame_power

SHORT_SPECTRA = ["level_16", "flux_16", "roughness_16", "skewness_16"]


def noise(seed: int = 0, seconds: float = 1.0, rate_hz: int = 16000) -> torch.Tensor:
    n_samples = int(rate_hz * seconds)
    return 0.1 * torch.randn(1, n_samples, generator=torch.Generator().manual_seed(seed))


def tone(frequency_hz: float, seconds: float = 1.0, rate_hz: int = 16000) -> torch.Tensor:
    time_s = torch.arange(int(rate_hz * seconds)) / rate_hz
    return torch.sin(2 * torch.pi * frequency_hz * time_s)


def by_hand(waveform: torch.Tensor, ms: int = 16, n_mels: int = 32, overlap: int = 4) -> dict[str, np.ndarray]:
    """The four spectral statistics of one clip, frame by frame in float64."""
    samples, n_fft = waveform[0].double().numpy(), 16 * ms
    samples = np.pad(samples - samples.mean(), n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(samples) - n_fft + 1, n_fft // overlap)
    spectra = [np.fft.rfft(samples[start : start + n_fft] * window) for start in starts]
    bank = mel_filters(n_fft, n_mels).double().numpy()
    means = bank / bank.sum(1, keepdims=True)
    levels = [10 * np.log10(bank @ np.abs(spectrum) ** 2) for spectrum in spectra]
    bins = np.mean([20 * np.log10(np.abs(spectrum)) for spectrum in spectra], axis=0)
    steps = np.mean([np.abs(after - before) for before, after in itertools.pairwise(levels)], axis=0)
    level = np.mean(levels, axis=0)
    return {
        f"level_{ms}": level - level.mean(),
        f"flux_{ms}": np.log(steps + 0.05),
        f"roughness_{ms}": np.log(means[:, :-1] @ np.abs(np.diff(bins)) + 0.05),
        f"skewness_{ms}": ((levels - level) ** 3).mean(0) / (np.std(levels, axis=0, ddof=1) ** 3 + 1e-3),
    }


def test_spectral_statistics_are_those_computed_frame_by_frame() -> None:
    waveform = noise(seconds=0.5) + 0.02 * tone(1000, 0.5) + 0.3
    views = ClipStatistics(SHORT_SPECTRA)(waveform)
    for name, expected in by_hand(waveform).items():
        np.testing.assert_allclose(views[name][0], expected, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("overlap", [2, 4, 8])
def test_longer_windows_overlap_as_often_as_they_are_told_to(overlap: int) -> None:
    waveform = noise(seconds=0.5) + 0.02 * tone(1000, 0.5) + 0.3
    views = ClipStatistics([*SHORT_SPECTRA, *(name.replace("16", "64") for name in SHORT_SPECTRA)], overlap=overlap)
    found = views(waveform)
    for name, expected in (by_hand(waveform) | by_hand(waveform, 64, 64, overlap)).items():
        np.testing.assert_allclose(found[name][0], expected, atol=2e-4, err_msg=name)


def test_frames_are_mirrored_at_both_ends_whatever_the_length() -> None:
    window = torch.hann_window(256)
    for n_samples, hop in itertools.product((129, 130, 256, 1000, 1023, 1024), (128, 64, 32)):
        wave = noise(n_samples, 0.1)[:, :n_samples]
        padded = np.pad(wave[0].numpy(), 128, mode="reflect")
        starts = range(0, len(padded) - 255, hop)
        expected = [np.abs(np.fft.rfft(padded[start : start + 256] * window.numpy())) ** 2 for start in starts]
        np.testing.assert_allclose(frame_power(wave, window, hop)[0], expected, rtol=1e-3, atol=1e-5)
    half = noise(1, 0.1)[:, :128]  # too short to be mirrored: it goes back and forth
    there_and_back = torch.cat([half, half.flip(1)], 1)
    torch.testing.assert_close(frame_power(half, window, 64), frame_power(there_and_back, window, 64))


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_envelope_statistics_are_those_of_numpy(rate_hz: int) -> None:
    waveform, n_fft = noise(3), window_samples(16, rate_hz)
    samples = np.pad(waveform[0].double().numpy() - float(waveform.mean()), n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(samples) - n_fft + 1, n_fft // 4)
    power = np.array([np.abs(np.fft.rfft(samples[start : start + n_fft] * window)) ** 2 for start in starts])
    envelope = np.sqrt(power @ mel_filters(n_fft, 32, rate_hz).double().numpy().T)
    deviation = envelope - envelope.mean(0)
    kurtosis = (deviation**4).mean(0) / (deviation**2).mean(0) ** 2
    coarse = np.log(np.sqrt(power @ mel_filters(n_fft, 12, rate_hz).double().numpy().T))
    correlation = np.corrcoef(coarse.T)[np.triu_indices(12, 1)]
    steps = np.corrcoef((coarse[4:] - coarse[:-4]).T)[np.triu_indices(12, 1)]
    views = ClipStatistics(["variation", "kurtosis", "band_correlation", "step_correlation"], rate_hz)(waveform)
    np.testing.assert_allclose(views["step_correlation"][0], np.arctanh(steps), atol=1e-4)
    np.testing.assert_allclose(views["variation"][0], np.log(envelope.std(0) / envelope.mean(0) + 1e-3), atol=1e-4)
    np.testing.assert_allclose(views["kurtosis"][0], np.log(kurtosis + 0.1), atol=1e-3)
    np.testing.assert_allclose(views["band_correlation"][0], np.arctanh(correlation), atol=1e-4)


def test_envelope_spectra_are_those_of_the_whole_analytic_signal() -> None:
    waveform = noise(4, seconds=16500 / 16000)
    samples = waveform[0].double().numpy()
    n = len(samples)
    frequency_hz, rates_hz = np.fft.fftfreq(n, 1 / 16000), np.fft.rfftfreq(n, 1 / 16000)
    spectrum, edges = np.fft.fft(samples), np.geomspace(4, 400, 21)
    expected = []
    for low in (125, 250, 500, 1000, 2000, 4000):
        inside = (frequency_hz >= low) & (frequency_hz < 2 * low)
        squared = np.abs(np.fft.ifft(2 * spectrum * inside)) ** 2
        power = np.abs(np.fft.rfft(squared / squared.mean() - 1)) ** 2 / n
        bands = [power[(rates_hz >= a) & (rates_hz < b)] for a, b in itertools.pairwise(edges)]
        nearest = [power[np.abs(rates_hz - (a + b) / 2).argmin()] for a, b in itertools.pairwise(edges)]
        means = [band.mean() if len(band) else other for band, other in zip(bands, nearest, strict=True)]
        expected.append(10 * np.log10(np.array(means) + 1e-4))
    views = ClipStatistics(["envelope_spectrum"])(waveform)
    np.testing.assert_allclose(views["envelope_spectrum"][0], np.concatenate(expected), atol=1e-2)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 96000])
def test_views_have_the_same_dims_for_every_length(rate_hz: int) -> None:
    extract = ClipStatistics(sample_rate_hz=rate_hz)
    dims = {name: values.shape[1] for name, values in extract(noise(rate_hz=rate_hz)).items()}
    assert tuple(dims) == VIEWS
    assert dims["level_16"] == dims["variation"] == 32
    assert dims["modulation"] == 12 * 8
    for seconds in (0.06, 0.13, 0.9, 4.0):
        views = extract(noise(seconds=seconds, rate_hz=rate_hz))
        assert {name: values.shape[1] for name, values in views.items()} == dims
        assert all(torch.isfinite(values).all() for values in views.values())


@settings(max_examples=20)
@given(st.floats(-60, 40), st.floats(-0.5, 0.5), st.integers(0, 100))
def test_neither_gain_nor_offset_changes_a_view(gain_db: float, offset: float, seed: int) -> None:
    extract = ClipStatistics()
    waveform = noise(seed, seconds=0.25)
    gain = 10 ** (gain_db / 20)
    changed = extract((waveform.double() * gain + offset * gain).float())
    for name, values in extract(waveform).items():
        torch.testing.assert_close(changed[name], values, atol=5e-3, rtol=1e-3, msg=name)


def test_digital_silence_is_finite() -> None:
    assert all(torch.isfinite(values).all() for values in ClipStatistics()(torch.zeros(2, 16000)).values())


def test_a_clip_does_not_depend_on_its_batch() -> None:
    extract = ClipStatistics()
    waves = torch.cat([noise(seed) for seed in range(20)])
    together = extract(waves)
    for i in (0, 7, 16, 19):
        for name, values in extract(waves[i : i + 1]).items():
            torch.testing.assert_close(values[0], together[name][i], atol=1e-4, rtol=1e-5)


def rise(view: str, changed: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    extract = ClipStatistics([view])
    return (extract(changed)[view] - extract(plain)[view])[0]


@pytest.mark.parametrize("view", ["level_64", "roughness_64"])
def test_a_tone_shows_in_its_band(view: str) -> None:
    centre_hz = int(mel_filters(1024, 64)[40].argmax()) * 15.625
    assert int(rise(view, noise() + 0.05 * tone(centre_hz), noise()).argmax()) == 40


def test_a_tone_makes_its_band_calm() -> None:
    fallen = rise("flux_64", noise() + tone(3000), noise())
    assert int(fallen.argmin()) == int(mel_filters(1024, 64)[:, 192].argmax())


def test_impulses_raise_kurtosis_and_variation() -> None:
    clicks = torch.zeros(1, 16000)
    clicks[:, ::2000] = 6.0
    assert rise("kurtosis", noise() + clicks, noise()).mean() > 0.5
    assert rise("variation", noise() + clicks, noise()).mean() > 0.1


def test_one_loud_moment_moves_the_mean_level_little() -> None:
    door = torch.zeros(1, 16000)
    door[:, 8000:8400] = 3.0 * noise(9, 0.025)
    assert rise("level_16", noise() + door, noise()).abs().max() < 2.0


@pytest.mark.parametrize("rate_hz", [4, 12, 64])
def test_modulation_is_found_at_its_rate(rate_hz: int) -> None:
    plain = noise(seconds=2.0)
    risen = rise("modulation", plain * (1 + 0.8 * tone(rate_hz, 2.0)), plain).view(12, 8).mean(0)
    edges = np.geomspace(2, 125, 9)
    assert edges[int(risen.argmax())] <= rate_hz < edges[int(risen.argmax()) + 1]


@pytest.mark.parametrize("rate_hz", [23.0, 95.0, 180.0])
def test_the_rate_of_impacts_is_found_in_the_spectrum_of_the_squared_envelope(rate_hz: float) -> None:
    plain = noise(seconds=2.0)
    risen = rise("envelope_spectrum_fine", plain * (1 + 0.8 * tone(rate_hz, 2.0)), plain)
    edges = np.linspace(4, 260, 97)
    assert edges[int(risen.argmax())] <= rate_hz < edges[int(risen.argmax()) + 1]


def test_bands_that_move_together_are_correlated() -> None:
    plain = noise(seconds=2.0)
    risen = rise("band_correlation", plain * (1 + 0.9 * tone(3.0, 2.0)), plain)
    assert (risen > 0.2).all()


def test_windows_keep_their_length_in_time() -> None:
    assert [window_samples(16, rate_hz) for rate_hz in (8000, 16000, 44100, 96000)] == [128, 256, 512, 2048]
    assert window_samples(256, 16000) == 4096


def test_band_means_are_means_of_the_bins_between_the_edges() -> None:
    bins_hz = torch.arange(0, 100.0, 10.0).double()
    means = band_means(torch.tensor([0.0, 25.0, 28.0, 60.0]).double(), bins_hz)
    expected = np.zeros((3, 10))
    expected[0, :3] = 1 / 3
    expected[1, 3] = 1  # no bin inside: the nearest
    expected[2, 3:6] = 1 / 3
    np.testing.assert_allclose(means, expected)
    np.testing.assert_allclose(log_edges(1.0, 16.0, 4), [1, 2, 4, 8, 16])


@pytest.mark.parametrize("view", POOLED_VIEWS)
def test_pooled_views_are_computed_alone(view: str) -> None:
    views = ClipStatistics([view])(noise())
    assert list(views) == [view]
    assert torch.isfinite(views[view]).all()


def test_views_do_not_depend_on_which_others_are_wanted() -> None:
    together = ClipStatistics(VIEWS + POOLED_VIEWS)(noise())
    for view in VIEWS + POOLED_VIEWS:
        assert torch.equal(ClipStatistics([view])(noise())[view], together[view])


@pytest.mark.parametrize("view", ["level_16", "level_64", "level_128", "level_256"])
def test_what_lies_60_db_below_the_loudest_band_counts_as_nothing(view: str) -> None:
    loud, other = tone(1000.0)[None], tone(6000.0)[None]
    levels = ClipStatistics([view])(loud)[view][0]
    assert float(levels.max() - levels.min()) == pytest.approx(60.0, abs=0.5)
    # A second tone counts where it is louder than that, and not where it is fainter.
    assert rise(view, loud + 10 ** (-75 / 20) * other, loud).abs().max() < 0.5
    assert rise(view, loud + 10 ** (-40 / 20) * other, loud).max() > 10.0


def test_modulation_is_the_mean_power_of_the_relative_envelope_over_its_segments() -> None:
    waveform = noise(5, seconds=3.0)
    samples = np.pad(waveform[0].double().numpy() - float(waveform.mean()), 128, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    starts = range(0, len(samples) - 255, 64)
    power = np.array([np.abs(np.fft.rfft(samples[start : start + 256] * window)) ** 2 for start in starts])
    envelope = np.sqrt(power @ mel_filters(256, 12).double().numpy().T)
    relative = envelope / envelope.mean(0) - 1
    taper = np.hanning(256)[:, None]
    segments = [relative[start : start + 256] * taper for start in range(0, len(relative) - 255, 128)]
    spectra = np.mean([np.abs(np.fft.rfft(segment, axis=0)) ** 2 / 256 for segment in segments], axis=0)
    rates_hz, edges = np.fft.rfftfreq(256, 64 / 16000), np.geomspace(2, 125, 9)
    expected = []
    for low, high in itertools.pairwise(edges):
        inside = (rates_hz >= low) & (rates_hz < high)
        nearest = np.abs(rates_hz - (low + high) / 2).argmin()
        expected.append(spectra[inside].mean(0) if inside.any() else spectra[nearest])
    found = ClipStatistics(["modulation"])(waveform)["modulation"].view(12, 8)
    np.testing.assert_allclose(found, 10 * np.log10(np.array(expected).T + 1e-6), atol=5e-3)


def test_pooled_views_are_their_formulas() -> None:
    """On log-mel levels frame by frame: the mean; the mean by rank; the mean by distance from the mean frame."""
    waveform = noise(6) * (1 + 0.9 * tone(3.0))
    levels = LogMel(16000, n_mels=128)(waveform)[0].double().numpy()  # (bands, frames)
    ranked = -np.sort(-levels, axis=1)
    distance = np.linalg.norm(levels - levels.mean(1, keepdims=True), axis=0)
    expected = {"log_mel128": levels.mean(1)}
    for name, decay in (("gwrp98", 0.98), ("gwrp90", 0.9)):
        expected[name] = np.average(ranked, axis=1, weights=decay ** np.arange(ranked.shape[1]))
    for name, sharpness in (("rdp4", 4), ("rdp8", 8)):
        expected[name] = np.average(levels, axis=1, weights=(1 + distance / distance.max()) ** sharpness)
    magnitudes = 10 ** (levels / 20)
    distance = np.linalg.norm(magnitudes - magnitudes.mean(1, keepdims=True), axis=0)
    cubes = np.average(magnitudes**3, axis=1, weights=(1 + distance / distance.max()) ** 9)
    expected["rdp_gem"] = 20 / 3 * np.log10(cubes)
    low = LogMel(16000, n_mels=64)(waveform)[0].double().numpy().mean(1)
    expected["log_mel64"] = low - low.mean()
    views = ClipStatistics(POOLED_VIEWS)(waveform)
    assert {*views} == {*expected}
    for name, values in expected.items():
        np.testing.assert_allclose(views[name][0], values, atol=2e-3, err_msg=name)


def test_no_levels_are_computed_that_no_view_wants() -> None:
    for view in POOLED_VIEWS:
        extract = ClipStatistics([view])
        assert (extract.log_mel64 is None, extract.log_mel128 is None) == (view != "log_mel64", view == "log_mel64")
        assert not len(extract.parts)


@pytest.mark.parametrize("rate_hz", [8000, 44100])
@pytest.mark.parametrize("view", ["level_16", "level_128", "log_mel64", "log_mel128"])
def test_bands_are_those_of_the_sample_rate(view: str, rate_hz: int) -> None:
    extract = ClipStatistics([view], rate_hz)
    plain, heard = (noise(rate_hz=rate_hz) + gain * tone(3000, rate_hz=rate_hz) for gain in (0.0, 0.3))
    band = int((extract(heard)[view] - extract(plain)[view])[0].argmax())
    n_bands = extract(plain)[view].shape[1]
    centres_hz = librosa.mel_frequencies(n_bands + 2, fmin=0, fmax=rate_hz / 2)[1:-1]
    assert band == np.abs(centres_hz - 3000).argmin()


def test_logarithmic_bands_end_at_half_the_sample_rate() -> None:
    risen = rise("level_256", noise() + 0.3 * tone(7900.0), noise())
    assert int(risen.argmax()) == 63
    edges_hz = np.geomspace(20, 8000, 65)
    risen = rise("level_256", noise() + 0.3 * tone(1000.0), noise())
    assert edges_hz[int(risen.argmax())] <= 1000 < edges_hz[int(risen.argmax()) + 1]


@pytest.mark.parametrize("rate_hz", [1000, 1600, 2500])
def test_slow_vibration_has_views_without_a_warning(rate_hz: int, recwarn: pytest.WarningsRecorder) -> None:
    views = ClipStatistics(VIEWS, rate_hz)(noise(rate_hz=rate_hz))
    assert all(view.isfinite().all() for view in views.values())
    assert not recwarn.list


@pytest.mark.parametrize("rate_hz", [8000, 16000, 32000])
def test_octaves_end_within_the_spectrum(rate_hz: int) -> None:
    n_octaves = sum(2 * low <= rate_hz / 2 for low in (125, 250, 500, 1000, 2000, 4000))
    views = ClipStatistics(["envelope_spectrum"], rate_hz)(noise(rate_hz=rate_hz))
    assert views["envelope_spectrum"].shape == (1, 20 * n_octaves)


def test_the_fine_envelope_spectrum_is_the_mean_of_the_octaves() -> None:
    waveform = noise(8, seconds=2.0)
    samples = waveform[0].double().numpy()
    n = len(samples)
    frequency_hz, rates_hz = np.fft.fftfreq(n, 1 / 16000), np.fft.rfftfreq(n, 1 / 16000)
    spectrum, edges = np.fft.fft(samples), np.linspace(4, 260, 97)
    levels = []
    for low in (125, 250, 500, 1000, 2000, 4000):
        inside = (frequency_hz >= low) & (frequency_hz < 2 * low)
        squared = np.abs(np.fft.ifft(2 * spectrum * inside)) ** 2
        power = np.abs(np.fft.rfft(squared / squared.mean() - 1)) ** 2 / n
        bands = [power[(rates_hz >= a) & (rates_hz < b)].mean() for a, b in itertools.pairwise(edges)]
        levels.append(10 * np.log10(np.array(bands) + 1e-4))
    views = ClipStatistics(["envelope_spectrum_fine"])(waveform)
    np.testing.assert_allclose(views["envelope_spectrum_fine"][0], np.mean(levels, axis=0), atol=1e-2)


def test_bands_that_are_one_are_as_correlated_as_can_be_told() -> None:
    """A click is in all bands at once, a silent stretch too; 0.995 is where the scale ends."""
    clicks = torch.zeros(1, 16000)
    clicks[:, 1000::4000] = 1.0
    found = ClipStatistics(["band_correlation"])(clicks)["band_correlation"]
    assert float(found.max()) == pytest.approx(np.arctanh(0.995), abs=1e-4)
    assert float(found.min()) >= -np.arctanh(0.995) - 1e-4


def test_a_buffer_of_filters_is_no_weight() -> None:
    assert list(ClipStatistics().state_dict()) == []


def test_a_clip_too_short_for_a_rate_has_nothing_at_it() -> None:
    """A tenth of a second tells rates every 10 Hz; the nearest to the lowest bands is 0, the mean itself."""
    coarse = ClipStatistics(["envelope_spectrum"])(noise(4, seconds=0.1))["envelope_spectrum"].view(-1, 20)
    np.testing.assert_allclose(coarse[:, 0], -40.0, atol=1e-4)
    assert float(coarse[2:, -1].min()) > -40.0
