"""The architectures that `transformers` 5.23.0 provides for each task; generated from its own mappings.

Of the tasks that are trained with the models' own loss, from token classification on, only those that train in FP32 and
BF16 at toy size. The library has no mapping for forecasting, and that of contrastive learning is named after its use,
zero-shot image classification.
"""

# ruff: noqa: SIM905 # one name per line would take hundreds of lines

from halftime.contract.models.presets import TransformersTask

MODEL_TYPES: dict[TransformersTask, frozenset[str]] = {
    "causal-lm": frozenset(
        """
        afmoe apertus arcee aria_text axk1 axk2 bailing_hybrid bamba bart beam bert bert-generation big_bird
        bigbird_pegasus biogpt bitnet blenderbot blenderbot-small bloom blt camembert codegen cohere cohere2
        cohere2_moe cohere_compass_text cpmant ctrl cwm data2vec-text dbrx deepseek_v2 deepseek_v3 deepseek_v32
        deepseek_v4 diffllama doge dots1 dots3_note dots3_note_text electra emu3 ernie ernie4_5 ernie4_5_moe
        exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo flint fuyu gemma gemma2 gemma3 gemma3_text
        gemma3n gemma3n_text gemma4 gemma4_assistant gemma4_text gemma4_unified gemma4_unified_assistant
        gemma4_unified_text git glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa got_ocr2 gpt-sw3 gpt2 gpt_bigcode
        gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_swa granitemoe granitemoe_swa
        granitemoehybrid granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 hy_v4 hyperclovax
        inkling2_text inkling_text internlm3 iquestcoder jais2 jamba jetmoe kimi_linear kolibri1 laguna lfm2
        lfm2_moe lfm3 llama llama4 llama4_text longcat_flash mamba mamba2 marian mbart megatron-bert mellum
        mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral mllama
        modernbert-decoder moshi moss_transcribe_diarize mpt musicgen musicgen_melody mvp nanochat nemotron
        nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt opt pegasus persimmon phi phi3 phi4_multimodal
        phimoe plbart prophetnet qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text
        qwen3_moe qwen3_next qwen4_exp qwen4_exp_text recurrent_gemma reformer rembert roberta
        roberta-prelayernorm roc_bert roformer rwkv seed_oss smollm3 solar_open stablelm starcoder2 trocr
        vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod youtu zamba zamba2 zaya
        """.split()
    ),
    "masked-lm": frozenset(
        """
        albert bart bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie
        esm esmc eurobert flaubert fnet funnel gte ibert jina_embeddings_v3 layoutlm longformer luke mbart
        megatron-bert mobilebert modernbert modernvbert mpnet mra mvp neomme nomic_bert nystromformer perceiver
        reformer rembert roberta roberta-prelayernorm roc_bert roformer squeezebert tapas ultrabert ultravbert
        xlm xlm-roberta xlm-roberta-xl xmod yoso
        """.split()
    ),
    "sequence-classification": frozenset(
        """
        albert arcee axk1 axk2 bart bert big_bird bigbird_pegasus biogpt bloom camembert canine
        cohere_compass_text convbert ctrl data2vec-text deberta deberta-v2 deepseek_v2 deepseek_v3 diffllama
        distilbert doge electra ernie esm esmc eurobert exaone4 falcon flaubert fnet funnel gemma gemma2 gemma3
        gemma3_text glm glm4 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj gte helium hunyuan_v1_dense
        hunyuan_v1_moe ibert jamba jetmoe jina_embeddings_v3 layoutlm layoutlmv2 layoutlmv3 lilt llama longformer
        luke markuplm mbart megatron-bert minicpm3 minimax ministral ministral3 mistral mistral4 mixtral
        mobilebert modernbert modernbert-decoder modernvbert mpnet mpt mra mt5 mvp nemotron nomic_bert
        nystromformer olmo olmo2 olmo3 openai-gpt opt perceiver persimmon phi phi3 phimoe plbart qwen2 qwen2_moe
        qwen3 qwen3_5 qwen3_5_text qwen3_moe qwen3_next reformer rembert roberta roberta-prelayernorm roc_bert
        roformer seed_oss smollm3 squeezebert stablelm starcoder2 t5 t5gemma t5gemma2 tapas ultrabert ultravbert
        umt5 xlm xlm-roberta xlm-roberta-xl xlnet xmod yoso zamba zamba2
        """.split()
    ),
    "image-classification": frozenset(
        """
        beit bit clip convnext convnextv2 cvt data2vec-vision deit dinat dinov2 dinov2_with_registers donut-swin
        efficientnet focalnet hgnet_v2 hiera ijepa imagegpt levit metaclip_2 mobilenet_v1 mobilenet_v2 mobilevit
        mobilevitv2 perceiver poolformer pp_lcnet pvt pvt_v2 regnet resnet segformer shieldgemma2 siglip siglip2
        swiftformer swin swinv2 textnet timm_wrapper vit vit_msn
        """.split()
    ),
    "seq2seq": frozenset(
        """
        audioflamingo3 bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder fsmt glmasr
        granite_speech granite_speech_plus led longt5 m2m_100 marian mbart moss_transcribe_diarize mt5
        musicflamingo mvp nemo_speechlm nllb-moe pegasus pegasus_x plbart prophetnet qwen2_audio qwen3_asr
        seamless_m4t seamless_m4t_v2 switch_transformers t5 t5gemma t5gemma2 umt5 vibevoice_asr voxtral
        voxtral_realtime
        """.split()
    ),
    "token-classification": frozenset(
        """
        albert apertus arcee axk1 axk2 bert big_bird biogpt bloom camembert canine convbert data2vec-text
        deberta-v2 deepseek_v3 diffllama distilbert electra ernie esm esmc eurobert exaone4 falcon flaubert fnet
        funnel gemma gemma2 glm glm4 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gte helium ibert
        jina_embeddings_v3 layoutlm layoutlmv3 lilt llama luke markuplm megatron-bert minimax ministral
        ministral3 mistral mistral4 mixtral mobilebert modernbert modernvbert mpnet mpt mra mt5 nemotron
        nomic_bert nystromformer openai_privacy_filter persimmon phi phi3 qwen2 qwen2_moe qwen3 qwen3_5
        qwen3_moe qwen3_next rembert roberta roberta-prelayernorm roc_bert roformer seed_oss smollm3 squeezebert
        stablelm starcoder2 t5 t5gemma t5gemma2 ultrabert ultravbert umt5 xlm xlm-roberta xlm-roberta-xl xlnet
        yoso
        """.split()
    ),
    "question-answering": frozenset(
        """
        albert arcee bart bert big_bird bigbird_pegasus bloom camembert canine convbert data2vec-text deberta-v2
        diffllama distilbert electra ernie exaone4 falcon flaubert fnet funnel gpt2 gpt_neo gpt_neox ibert
        jina_embeddings_v3 layoutlmv3 lilt llama luke markuplm mbart megatron-bert minimax ministral ministral3
        mistral mixtral mobilebert modernbert mpnet mpt mra mt5 mvp nemotron nystromformer opt qwen2 qwen2_moe
        qwen3 qwen3_moe qwen3_next reformer rembert roberta roberta-prelayernorm roc_bert roformer seed_oss
        smollm3 splinter squeezebert t5 ultrabert umt5 xlm xlm-roberta xlm-roberta-xl xlnet yoso
        """.split()
    ),
    "semantic-segmentation": frozenset(
        """
        beit data2vec-vision dpt mobilenet_v2 mobilevit mobilevitv2 segformer upernet
        """.split()
    ),
    "object-detection": frozenset(
        """
        conditional_detr d_fine dab-detr deformable_detr deimv2 detr rt_detr rt_detr_v2 table-transformer yolos
        """.split()
    ),
    "ctc": frozenset(
        """
        data2vec-audio hubert sew sew-d unispeech unispeech-sat wav2vec2 wav2vec2-bert wav2vec2-conformer wavlm
        """.split()
    ),
    "speech-seq2seq": frozenset(
        """
        canary moonshine seamless_m4t seamless_m4t_v2 speech_to_text speecht5 whisper
        """.split()
    ),
    "contrastive": frozenset(
        """
        align altclip blip chinese_clip clip clipseg metaclip_2 siglip tipsv2
        """.split()
    ),
    "time-series-forecasting": frozenset(
        """
        patchtsmixer patchtst
        """.split()
    ),
}

_SEES_AHEAD = "this architecture has access to the tokens to predict"
_NEEDS_AUDIO = "this architecture is conditioned on audio"
_DRAFTS = "this architecture drafts for another model, whose keys and values it reads"
_NO_DECODER = "this architecture has no decoder of its own: it continues its input"

#: Architectures listed above that cannot be trained on the data of a task, and the reason.
NOT_TRAINED: dict[TransformersTask, dict[str, str]] = {
    "causal-lm": {
        "cpmant": _SEES_AHEAD,
        "gemma4_assistant": _DRAFTS,
        "gemma4_unified_assistant": _DRAFTS,
        "musicgen": _NEEDS_AUDIO,
        "musicgen_melody": _NEEDS_AUDIO,
        "xlm": _SEES_AHEAD,
        "xlnet": _SEES_AHEAD,
    },
    "masked-lm": {},
    "sequence-classification": {},
    "image-classification": {
        "imagegpt": "this architecture reads clusters of colours, not pixels",
        "shieldgemma2": "this architecture reads an image together with a text",
        "siglip2": "this architecture reads images that are cut into patches",
    },
    "seq2seq": {
        "audioflamingo3": _NO_DECODER,
        "glmasr": _NO_DECODER,
        "granite_speech": _NO_DECODER,
        "granite_speech_plus": _NO_DECODER,
        "moss_transcribe_diarize": _NO_DECODER,
        "musicflamingo": _NO_DECODER,
        "nemo_speechlm": _NO_DECODER,
        "qwen2_audio": _NO_DECODER,
        "qwen3_asr": _NO_DECODER,
        "vibevoice_asr": _NO_DECODER,
        "voxtral": _NO_DECODER,
        "voxtral_realtime": _NO_DECODER,
    },
    "token-classification": {},
    "question-answering": {},
    "semantic-segmentation": {},
    "object-detection": {},
    "ctc": {},
    "speech-seq2seq": {},
    "contrastive": {},
    "time-series-forecasting": {},
}
