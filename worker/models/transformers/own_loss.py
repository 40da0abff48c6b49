"""The tasks whose loss the library's models compute themselves: the task, the config, and the model of each."""

import copy
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from halftime.contract.models import TransformersSpec
from halftime.contract.models.presets import TransformersTask
from halftime.plugin import Blueprint
from worker.data.batches import map_tensors
from worker.data.source import seeded
from worker.data.synthetic import captions, spans
from worker.data.synthetic.speech import Sound, Spectrogram, Waveform, spoken_alphabet
from worker.errors import TrialFailed
from worker.models.transformers.config import Config, parts, text_config, vocabulary
from worker.models.transformers.fp32_loss import compute_loss_in_fp32
from worker.models.transformers.library import library, library_errors, quoted
from worker.models.transformers.module import NO_TOKEN, Padding, set_padding
from worker.models.transformers.needs import suspected
from worker.models.transformers.rehearsal import NEEDS_PADDING, PADS_ITSELF, SAMPLES, Truths, is_inconclusive
from worker.models.transformers.rejections import explained, refused
from worker.models.transformers.sizes import image_shape, images_of, positions_of, sequence_length
from worker.tasks.contrastive import Contrastive
from worker.tasks.ctc import Ctc
from worker.tasks.detection import Detection
from worker.tasks.forecasting import Forecasting
from worker.tasks.own_loss import OwnLoss
from worker.tasks.question_answering import QuestionAnswering
from worker.tasks.segmentation import Segmentation
from worker.tasks.speech_seq2seq import SpeechSeq2Seq
from worker.tasks.token_classification import TokenClassification

#: The class of the library that builds an architecture with the head of a task; forecasters have no such class.
AUTO_CLASSES: dict[TransformersTask, str] = {
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "object-detection": "AutoModelForObjectDetection",
    "ctc": "AutoModelForCTC",
    "speech-seq2seq": "AutoModelForSpeechSeq2Seq",
    "contrastive": "AutoModel",
}
FORECASTERS = {"patchtst": "PatchTSTForPrediction", "patchtsmixer": "PatchTSMixerForPrediction"}

#: Tasks whose tokens have no padding, so that the model need not search for it.
TEXT_TASKS = {"token-classification", "question-answering", "contrastive"}

#: Default length of a waveform: one second.
DEFAULT_WAVEFORM = 16_000
#: Default frames of a spectrogram for CTC: four seconds at 100 frames per second.
DEFAULT_FRAMES = 400
#: With one token alone there is nothing to tell apart.
LEAST_SPOKEN_TOKENS = 2

#: Frames that a model makes of the sound of one token, so that CTC has room for repetitions and blanks.
FRAMES_PER_TOKEN = 4
#: Default tokens in a recording for an encoder-decoder, and what is heard of each.
DEFAULT_SPOKEN_TOKENS = 64
WAVEFORM_PER_TOKEN = 1600
SPECTROGRAM_PER_TOKEN = 16

#: Names of the number of values in a frame of a spectrogram.
BINS = ("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim")
#: Architectures that read a spectrogram as (bins, frames), and always twice as many frames as they have positions.
BINS_FIRST = {"whisper"}


def own_loss_blueprint(spec: TransformersSpec, config: Config) -> Blueprint:
    """Returns the blueprint. Raises TrialFailed (`invalid_model`) naming the field that is not accepted."""
    task = TASKS[spec.trained_task](spec, config)
    padding = _find_padding(spec, config, task)
    return Blueprint(task, partial(build, spec.trained_task, config, padding))


def build(task: TransformersTask, config: Config, padding: Padding | None) -> nn.Module:
    """Builds the library's model itself."""
    config = copy.deepcopy(config)
    if padding is not None and padding.built is not None:
        set_padding(config, padding.built)
    with library_errors(type(config)):
        if task == "time-series-forecasting":
            model: nn.Module = getattr(library(), FORECASTERS[config.model_type])(config)
        else:
            model = getattr(library(), AUTO_CLASSES[task]).from_config(config)
    compute_loss_in_fp32(model)
    if padding is not None:
        set_padding(model.config, padding.read)
    return model


def _token_classification(spec: TransformersSpec, config: Config) -> OwnLoss:
    return TokenClassification(vocabulary(config), sequence_length(spec, config), spec.classes)


def _question_answering(spec: TransformersSpec, config: Config) -> OwnLoss:
    return QuestionAnswering(_vocabulary_of(config, spans.LEAST_VOCABULARY), sequence_length(spec, config))


def _segmentation(spec: TransformersSpec, config: Config) -> OwnLoss:
    return Segmentation(images_of(spec, config))


def _detection(spec: TransformersSpec, config: Config) -> OwnLoss:
    return Detection(images_of(spec, config))


def _contrastive(spec: TransformersSpec, config: Config) -> OwnLoss:
    channels, height, width = image_shape(spec, config)
    size, last = _vocabulary_of(config, captions.LEAST_VOCABULARY), text_config(config).eos_token_id
    # The token with the largest ID ends a text for configs as old as the first CLIP, whatever they say.
    last_token = last if isinstance(last, int) and last > 2 else size - 1
    return Contrastive(channels, height, width, size, sequence_length(spec, config), last_token)


def _ctc(spec: TransformersSpec, config: Config) -> OwnLoss:
    config.ctc_loss_reduction = "mean"  # a sum would grow with the batch
    _without_masks(config)
    input_name = _input_name(spec, config)
    sound: Sound
    if input_name == "input_values":
        sound = Waveform(spec.sequence_length or DEFAULT_WAVEFORM)
        frames = sound.samples // math.prod(config.conv_stride)
    else:
        sound = Spectrogram(spec.sequence_length or DEFAULT_FRAMES, _bins(config), frames_first=True)
        frames = sound.frames // (_setting(config, ("subsampling_factor",)) or 1)
    if frames < FRAMES_PER_TOKEN:
        raise refused("sequence_length", f"the architecture makes {frames} frames of it; 4 or more are needed.")
    alphabet = _alphabet(vocabulary(config), config)
    return Ctc(input_name, sound, frames // FRAMES_PER_TOKEN, alphabet, config.pad_token_id)


def _speech_seq2seq(spec: TransformersSpec, config: Config) -> OwnLoss:
    _without_masks(config)
    if getattr(config, "pad_token_id", None) is None:  # labels are shifted with it
        config.pad_token_id = config.eos_token_id
    positions = positions_of(spec, config) or DEFAULT_SPOKEN_TOKENS
    tokens = sequence_length(spec, config) if spec.sequence_length else min(positions, DEFAULT_SPOKEN_TOKENS)
    input_name = _input_name(spec, config)
    size = vocabulary(config)
    sound = _sound_of(spec, config, tokens) if input_name == "input_features" else Waveform(WAVEFORM_PER_TOKEN * tokens)
    return SpeechSeq2Seq(input_name, sound, size, tokens, _alphabet(size, config))


def _sound_of(spec: TransformersSpec, config: Config, tokens: int) -> Spectrogram:
    if spec.architecture in BINS_FIRST:
        return Spectrogram(2 * config.max_source_positions, _bins(config), frames_first=False)
    frames = min(SPECTROGRAM_PER_TOKEN * tokens, getattr(config, "max_source_positions", math.inf))
    return Spectrogram(int(frames), _bins(config), frames_first=True)


def _forecasting(spec: TransformersSpec, config: Config) -> OwnLoss:
    if config.loss != "mse":
        raise refused("config.loss", f"{config.loss} is not trained here; use mse.")
    if getattr(config, "prediction_channel_indices", None) is not None:
        raise refused("config.prediction_channel_indices", "all channels are forecast here; omit it.")
    return Forecasting(config.context_length, config.prediction_length, config.num_input_channels)


TASKS: dict[TransformersTask, Callable[[TransformersSpec, Config], OwnLoss]] = {
    "token-classification": _token_classification,
    "question-answering": _question_answering,
    "semantic-segmentation": _segmentation,
    "object-detection": _detection,
    "ctc": _ctc,
    "speech-seq2seq": _speech_seq2seq,
    "contrastive": _contrastive,
    "time-series-forecasting": _forecasting,
}


def _vocabulary_of(config: Config, least: int) -> int:
    size = vocabulary(config)
    if size < least:
        raise refused("config.vocab_size", f"{size} is too small a vocabulary for this task; use {least} or more.")
    return size


def _without_masks(config: Config) -> None:
    """Switches off SpecAugment, which draws masks in the model: all randomness is in the data here."""
    for part in parts(config):
        if hasattr(part, "apply_spec_augment"):
            part.apply_spec_augment = False


def _input_name(spec: TransformersSpec, config: Config) -> str:
    """The model's name for a recording: `input_values`, a waveform, or `input_features`, a spectrogram."""
    classes = getattr(library(), AUTO_CLASSES[spec.trained_task])._model_mapping
    return str(classes[type(config)].main_input_name)


def _bins(config: Config) -> int:
    return (_setting(config, BINS) or 80) * getattr(config, "input_channels", 1)


def _setting(config: Config, names: tuple[str, ...]) -> int | None:
    """The first of several settings that a config or its parts have."""
    values = (getattr(part, name, None) for part in parts(config) for name in names)
    return next((value for value in values if isinstance(value, int)), None)


def _alphabet(size: int, config: Config) -> tuple[int, ...]:
    """Tokens that are spoken: all but the special ones."""
    alphabet = spoken_alphabet(size, _special_tokens(config))
    if len(alphabet) < LEAST_SPOKEN_TOKENS:
        raise refused("config.vocab_size", f"leaves fewer than {LEAST_SPOKEN_TOKENS} tokens to speak.")
    return alphabet


def _special_tokens(config: Config) -> set[int]:
    """Tokens with a meaning of their own."""
    values = [value for part in parts(config) for name, value in vars(part).items() if name.endswith("_token_id")]
    return {token for value in values for token in (value if isinstance(value, list) else [value]) if token is not None}


def _find_padding(spec: TransformersSpec, config: Config, task: OwnLoss) -> Padding | None:
    """Rehearses the model; returns the padding token with which it runs on texts, None where there is no text."""
    choices = [Padding(None), Padding(NO_TOKEN), Padding(NO_TOKEN, built=NO_TOKEN)]
    if config.model_type in PADS_ITSELF:
        choices = [Padding(config.pad_token_id)]
    error: str | None = None
    for padding in choices if spec.trained_task in TEXT_TASKS else [None]:
        error = _rehearse(partial(build, spec.trained_task, config, padding), task)
        if error is None:
            return padding
        if not NEEDS_PADDING.search(error):
            break
    known = explained(error or "", type(config)) or suspected(config)
    raise known or refused("config", f"this model does not run on samples of its task: {error}")


def _rehearse(build_model: Callable[[], nn.Module], task: OwnLoss) -> str | None:
    """Builds a model and computes its loss on the meta device; returns why it cannot be trained, if that is known."""
    with torch.device("cpu"):  # whatever the caller's default is
        batch = task.source(0).sample("training", SAMPLES, seeded("rehearsal", 0))
    truths = Truths()
    try:
        with torch.device("meta"), torch.no_grad(), truths:
            task.loss(build_model(), map_tensors(lambda tensor: tensor.to("meta"), batch))
    except TrialFailed:
        raise
    except MemoryError:
        return None
    except Exception as error:  # the library's own code: of any type
        return None if is_inconclusive(error, truths) else quoted(error)
    return None
