"""Names of our own settings among voice parameters: refused with the right one, and no service's parameter is."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import check_column, check_parameters
from tts_pipeline.catalog.keywords import KEYWORDS, SHARED_NAMES, refuse_keyword
from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, QualityPolicy, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.estimates import estimate
from tts_pipeline.frames.synthesize import synthesize
from tts_pipeline.job import Job, RunOptions, run
from tts_pipeline.options import OPTIONS

PERMISSIVE = Card("anywhere", "any-model", permissive=True)

REAL = """\
input voice speed response_format instructions stream_format language_type sample_rate volume pitch format seed
model_id voice_settings pronunciation_dictionary_locators previous_text next_text previous_request_ids
use_pvc_as_ivc apply_text_normalization apply_language_text_normalization output_format optimize_streaming_latency
enable_logging language_code stability similarity_boost style use_speaker_boost voice_id voice_setting audio_setting
pronunciation_dict timber_weights timbre_weights language_boost subtitle_enable output_format voice_modify
aigc_watermark
text_normalization english_normalization latex_read vol emotion bitrate channel force_cbr audio_params speech_rate
loudness_rate pitch_rate speaker req_params reqid operation text_type silence_duration with_frontend frontend_type
with_timestamp split_sentence pure_english_opt encoding compression_rate speed_ratio volume_ratio pitch_ratio
explicit_language context_language explicit_dialect disable_markdown_filter disable_emoji_filter mute_cut_threshold
enable_latex_tn max_length_to_filter_parenthesis cache_config post_process additions rate gain effects_profile_id
audioConfig audioEncoding speakingRate sampleRateHertz volumeGainDb effectsProfileId languageCode ssmlGender
customVoice voiceConfig speechConfig prebuiltVoiceConfig multiSpeakerVoiceConfig generationConfig temperature
engine lexiconNames outputFormat sampleRate speechMarkTypes textType voiceId OutputFormat VoiceId Engine LanguageCode
container bit_rate mip_opt_out callback callback_method tag_list transcript add_timestamps add_phoneme_timestamps
continue context_id duration flush_id language use_original_timestamps experimental_controls reference_id references
chunk_length normalize latency opus_bitrate mp3_bitrate prosody top_p top_k repetition_penalty min_p cfg_scale
max_new_tokens max_tokens gain stream sample_rates aue auf lang tex cuid spd pit per tok ctp lan tte vcn sfl bgs reg
rdn Text SessionId Volume Speed ProjectId ModelType VoiceType PrimaryLanguage SampleRate Codec EnableSubtitle
SegmentRate EmotionCategory EmotionIntensity FastVoiceType property audio_quality speech_type style_degree role
voice_engine quality voice_guidance style_guidance text_guidance output user_id guidance multi_native_locale
variation clarity word_durations_as_original encode_as_base64 pronunciation_weight split_description utterances
description generation num_generations strip_headers instant_mode acting_instructions trailing_silence version
context enable_timestamp optimize_instructions rate_pitch breathing paragraph_breaks sentence_breaks word_timings
ref_audio ref_text prompt_audio prompt_text prompt_speech_path zero_shot spk_id speaker_id speaker_wav emotion_vector
emo_alpha interval_silence batch_size split_bucket text_lang prompt_lang text_split_method media_type streaming_mode
parallel_infer super_sampling samples_per_second noise_scale length_scale noise_w lang_code lora alignment limiter
timbre persona accent age gender tone mood pause pauses silence fade compress columnar denoise crossfade loop
"""
"""Parameters of ElevenLabs, MiniMax, Volcengine, Google, Amazon, Deepgram, Cartesia, Fish Audio, iFlytek, Baidu,
Tencent, Huawei, PlayHT, Murf, Hume, LMNT, CosyVoice, GPT-SoVITS, Kokoro and others; collected from memory."""


@pytest.mark.parametrize(
    ("name", "keyword"),
    [
        *(
            ("limt", "limit"),
            ("limit", "limit"),
            ("Limit", "limit"),
            ("max_cots", "max_cost"),
            ("max-cost", "max_cost"),
        ),
        *(
            ("maxconcurrency", "max_concurrency"),
            ("timeout", "timeout_s"),
            ("colums", "column"),
            ("runing", "running"),
        ),
        *(("tag", "tag"), ("reuse", "reuse"), ("unspeakble", "unspeakable"), ("workdir", "work_dir")),
    ],
)
def test_a_slip_of_a_setting_is_no_voice_parameter(name: str, keyword: str) -> None:
    """Neither for all rows nor from a column, also where a model takes whatever it is given; unchecked lets it pass."""
    for card in (PERMISSIVE, Card("s", "m")):
        with pytest.raises(ConfigurationError, match=f"Did you mean '{keyword}'"):
            check_parameters(card, {name: 1})
        with pytest.raises(ConfigurationError, match=f"Did you mean '{keyword}'"):
            check_column(card, name, {1: 3})
        assert check_parameters(card, {name: 1}, [name]) == {name: 1}


def test_what_services_really_take_passes() -> None:
    """Hundreds of names from the documentation of other makers, none of which is near enough to one of ours."""
    for name in {*REAL.split(), *SHARED_NAMES}:
        refuse_keyword(name)
    assert check_parameters(PERMISSIVE, {"limits_of": 1, "stability": 0.5}) == {"limits_of": 1, "stability": 0.5}


def test_the_keywords_are_all_names_of_ours() -> None:
    """Flags, fields of a job and of its values, arguments of the functions: a new name joins one of the two lists."""
    values = (Job, RunOptions, AudioSettings, BudgetCap, InputColumns, Limits, QualityPolicy, Selection)
    names = {field.name for value in values for field in fields(value)} | {option.name for option in OPTIONS}
    for function in (run, synthesize, estimate):
        names |= {
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
    assert names | {"take", "config"} <= KEYWORDS | SHARED_NAMES
    assert not KEYWORDS & SHARED_NAMES
