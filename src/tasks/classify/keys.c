#include "config/keys.h"

#include <stdint.h>

#include "distill/quantize_keys.h"
#include "distill/train_keys.h"
#include "layers/node.h"
#include "tasks/classify/config.h"
#include "tasks/classify/rules.h"

/* clang-format off */

/* --- model ---------------------------------------------------------------------------------- */

#define LAYER(KIND, name) &kd_layer_##name,
static const kd_config_table *const LAYER_KINDS[] = {KD_LAYER_KINDS(LAYER)};
static const kd_config_table LAYER_TABLE = {
    .name = "layer", .variant = LAYER_KINDS, .variant_count = COUNT(LAYER_KINDS),
    .finish = kd_config_layer_finish, .doc = "One layer; its first key says which kind."};

#define MODEL_TYPE                                                                                 \
    {"type", KD_KEY_CHOICE, FIELD(kd_model_spec, kind), .choices = "mlp|cnn|resnet",               \
     .required = true, .doc = "which kind of network"}
static const kd_config_key MLP_KEYS[] = {
    MODEL_TYPE,
    {"hidden", KD_KEY_INTEGERS, LIST(kd_model_spec, hidden, hidden_count), RANGE(1, UNITS),
     .required = true, .doc = "units of each hidden layer"},
    {"input_dropout", KD_KEY_REAL, FIELD(kd_model_spec, input_dropout), BELOW_ONE,
     .fallback = "0", .doc = "probability to drop an input value while training"},
    {"dropout", KD_KEY_REAL, FIELD(kd_model_spec, dropout), BELOW_ONE, .fallback = "0",
     .doc = "probability to drop a hidden value while training"},
};
static const kd_config_key CNN_KEYS[] = {
    MODEL_TYPE,
    {"layers", KD_KEY_OBJECTS, LIST(kd_model_spec, layer, layer_count), .table = &LAYER_TABLE,
     .required = true, .doc = "the layers in order; a linear classifier is put behind them"},
};
static const kd_config_key RESNET_KEYS[] = {
    MODEL_TYPE,
    {"depth", KD_KEY_INTEGER, FIELD(kd_model_spec, depth), RANGE(8, 1202), .required = true,
     .doc = "layers with weights: 6n + 2 (8, 14, 20, 32, 44, 56, 110 …)"},
    {"width", KD_KEY_INTEGER, FIELD(kd_model_spec, width), RANGE(1, 4096), .fallback = "16",
     .doc = "channels of the first stage; the others have twice and four times as many"},
    {"shortcut", KD_KEY_CHOICE, FIELD(kd_model_spec, shortcut), .choices = "A|B",
     .fallback = "\"A\"", .doc = "where shapes change: A zero channels, B a 1×1 convolution"},
};
static const kd_config_table MLP_TABLE = {.name = "mlp", .key = MLP_KEYS, .count = COUNT(MLP_KEYS),
    .doc = "Fully connected layers of rectified units."};
static const kd_config_table CNN_TABLE = {.name = "cnn", .key = CNN_KEYS, .count = COUNT(CNN_KEYS),
    .finish = kd_config_cnn_finish, .doc = "Layers one behind the other."};
static const kd_config_table RESNET_TABLE = {.name = "resnet", .key = RESNET_KEYS,
    .count = COUNT(RESNET_KEYS), .finish = kd_config_resnet_finish,
    .doc = "A residual network for small images (He et al. 2016, section 4.2)."};
static const kd_config_table *const MODEL_KINDS[] = {&MLP_TABLE, &CNN_TABLE, &RESNET_TABLE};
static const kd_config_table MODEL_TABLE = {
    .name = "model", .variant = MODEL_KINDS, .variant_count = COUNT(MODEL_KINDS), .tag = "type",
    .doc = "A network."};

/* --- data ----------------------------------------------------------------------------------- */

static const kd_config_key AUDIO_KEYS[] = {
    {"sample_rate", KD_KEY_INTEGER, FIELD(kd_audio_spec, sample_rate), RANGE(1000, 384000),
     .fallback = "16000", .doc = "Hz; files at other rates are resampled"},
    {"window", KD_KEY_INTEGER, FIELD(kd_audio_spec, window), RANGE(16, 16384), .fallback = "400",
     .doc = "samples of the Hann window"},
    {"hop", KD_KEY_INTEGER, FIELD(kd_audio_spec, hop), RANGE(1, 16384), .fallback = "160",
     .doc = "samples between frames"},
    {"mels", KD_KEY_INTEGER, FIELD(kd_audio_spec, mels), RANGE(1, 512), .fallback = "40",
     .doc = "filters of the mel scale"},
    {"seconds", KD_KEY_REAL, FIELD(kd_audio_spec, seconds), .low = 0, .high = 600, .above = true,
     .fallback = "1", .doc = "every clip is cut or filled with silence to this"},
    {"trim", KD_KEY_REAL, FIELD(kd_audio_spec, trim), RANGE(0, 200), .fallback = "0",
     .doc = "dB: ends this much quieter than the loudest frame are cut off and the rest is put in "
            "the middle; 0: clips begin with their file"},
    {"range", KD_KEY_REAL, FIELD(kd_audio_spec, range), .low = 0, .high = 80, .above = true,
     .fallback = "80", .doc = "dB below a clip's loudest value that are kept"},
    {"normalise", KD_KEY_CHOICE, FIELD(kd_audio_spec, normalise), .choices = "none|range|bands",
     .fallback = "\"none\"",
     .doc = "within each clip; range: 0 is the lowest kept value, 1 the loudest; bands: each "
            "mel's mean is subtracted, the whole divided by its deviation"},
};
static const kd_config_table AUDIO_TABLE = {.name = "audio", .key = AUDIO_KEYS,
    .count = COUNT(AUDIO_KEYS), .finish = kd_config_audio_finish,
    .doc = "How sound becomes log-mel frames."};
static const kd_config_key AUGMENT_KEYS[] = {
    {"shift", KD_KEY_PAIR, .offset = offsetof(kd_augment, shift_h), .size = 2 * sizeof(int),
     NOWHERE, RANGE(0, 512), .fallback = "0",
     .doc = "shift by up to this many pixels, or [rows, columns]; zeros come in"},
    {"flip", KD_KEY_SWITCH, FIELD(kd_augment, flip), .fallback = "false",
     .doc = "mirror left and right with probability 1/2"},
    {"vocal_tract", KD_KEY_REAL, FIELD(kd_augment, vocal_tract), RANGE(0, 1), .fallback = "0",
     .doc = "sound: frequencies times or divided by up to 1 + this, as shorter and longer vocal "
            "tracts give them"},
    {"tempo", KD_KEY_REAL, FIELD(kd_augment, tempo), RANGE(0, 1), .fallback = "0",
     .doc = "sound: faster or slower by a factor of up to 1 + this"},
    {"mask", KD_KEY_PAIR, .offset = offsetof(kd_augment, mask_h), .size = 2 * sizeof(int),
     NOWHERE, RANGE(0, 4096), .fallback = "0",
     .doc = "sound: [frames, mels], one stretch of up to so many of each becomes 0"},
};
static const kd_config_table AUGMENT_TABLE = {.name = "augment", .key = AUGMENT_KEYS,
    .count = COUNT(AUGMENT_KEYS), .doc = "Random changes to training samples."};
static const kd_config_key DATA_KEYS[] = {
    {"kind", KD_KEY_CHOICE, FIELD(kd_config, data.kind), .choices = KD_CLASSIFY_KINDS,
     .required = true, .doc = "the format of the files"},
    {"folder", KD_KEY_PATH, FIELD(kd_config, data.folder), .depends = "required for idx, cifar10",
     .doc = "holds the four idx files (.gz or not), or CIFAR-10's .bin files"},
    {"train", KD_KEY_PATH, FIELD(kd_config, data.train_manifest), .depends = "required for audio",
     .doc = "training clips: lines \"file, tab, label\", or a folder of class folders"},
    {"test", KD_KEY_PATH, FIELD(kd_config, data.test_manifest), .depends = "required for audio",
     .doc = "test clips, likewise"},
    {"mean", KD_KEY_REALS, LIST(kd_config, data.mean, data.mean_count), RANGE(-1e6, 1e6),
     .fallback = "[]", .doc = "of each channel, subtracted after scaling bytes to 0 … 1"},
    {"deviation", KD_KEY_REALS, LIST(kd_config, data.deviation, data.mean_count),
     RANGE(1e-6, 1e6), .fallback = "[]", .doc = "of each channel, divided by"},
    {"classes", KD_KEY_TEXTS, LIST(kd_config, data.class_names, data.class_name_count),
     .fallback = "[]", .doc = "names of the classes of idx files, in the order of their labels"},
    {"validation", KD_KEY_INTEGER, FIELD(kd_config, data.validation), RANGE(0, BILLION),
     .fallback = "0", .doc = "training samples held out to choose the best epoch"},
    {"train_limit", KD_KEY_INTEGER, FIELD(kd_config, data.train_limit), RANGE(0, BILLION),
     .fallback = "0", .doc = "only this many training samples; 0: all"},
    {"exclude", KD_KEY_INTEGERS, LIST(kd_config, data.exclude, data.exclude_count), RANGE(0, 4095),
     .fallback = "[]", .doc = "labels left out of training"},
    {"audio", KD_KEY_OBJECT, PART(kd_config, data.audio, AUDIO_TABLE),
     .depends = "its keys' defaults, for audio", .doc = "how sound becomes log-mel frames"},
    {"augment", KD_KEY_OBJECT, PART(kd_config, augment, AUGMENT_TABLE), .fallback = "{}",
     .doc = "random changes to training samples"},
};
static const kd_config_table DATA_TABLE = {.name = "data", .key = DATA_KEYS,
    .count = COUNT(DATA_KEYS), .defaults = kd_config_data_defaults, .finish = kd_config_data_finish, .doc = "Samples and labels."};

/* --- teacher -------------------------------------------------------------------------------- */

static const kd_config_key TARGET_KEYS[] = {
    {"kind", KD_KEY_CHOICE, FIELD(kd_teacher_config, kind), .choices = "dense|topk",
     .fallback = "\"dense\"", .doc = "all logits, or the largest k and the mass of the rest"},
    {"dtype", KD_KEY_CHOICE, FIELD(kd_teacher_config, dtype), .choices = "float32|float16",
     .fallback = "\"float16\"", .doc = "how logits are stored"},
    {"k", KD_KEY_INTEGER, FIELD(kd_teacher_config, k), RANGE(1, 4096),
     .depends = "required for topk", .doc = "logits kept for each sample"},
};
static const kd_config_table TARGET_TABLE = {.name = "targets", .key = TARGET_KEYS,
    .count = COUNT(TARGET_KEYS), .finish = kd_config_targets_finish,
    .doc = "What is stored of the teacher's answers."};
#define SOURCE_KEYS(s, p)                                                                          \
    {"config", KD_KEY_PATH, FIELD(s, p config), .doc = "a config to train the teacher by"},        \
    {"weights", KD_KEY_PATH, FIELD(s, p weights),                                                  \
     .doc = "its weights: .safetensors or a checkpoint of ours, which need model, or .onnx, which brings it"},                    \
    {"model", KD_KEY_OBJECT, PART(s, p model, MODEL_TABLE), .doc = "its network, with weights that are no .onnx"}
static const kd_config_key MEMBER_KEYS[] = {SOURCE_KEYS(kd_teacher_source, )};
static const kd_config_table MEMBER_TABLE = {.name = "ensemble", .key = MEMBER_KEYS,
    .count = COUNT(MEMBER_KEYS), .finish = kd_config_source_finish,
    .doc = "One network of an ensemble: config, or weights and model, or weights that are .onnx."};
static const kd_config_key TEACHER_KEYS[] = {
    SOURCE_KEYS(kd_teacher_config, source[0].),
    {"ensemble", KD_KEY_OBJECTS, LIST(kd_teacher_config, source, count), .table = &MEMBER_TABLE,
     .doc = "several networks, whose logits are averaged"},
    {"store", KD_KEY_PATH, FIELD(kd_teacher_config, store),
     .doc = "soft targets made elsewhere: a store's folder or file"},
    {"views", KD_KEY_INTEGER, FIELD(kd_teacher_config, views), RANGE(0, 100000), .fallback = "0",
     .doc = "augmented views of each sample the teacher answers for; 0: the clean sample, once"},
    {"targets", KD_KEY_OBJECT, HERE(TARGET_TABLE), .fallback = "{}",
     .doc = "what is stored of the teacher's answers"},
};
static const kd_config_table TEACHER_TABLE = {.name = "teacher", .key = TEACHER_KEYS,
    .count = COUNT(TEACHER_KEYS), .defaults = kd_config_teacher_defaults, .finish = kd_config_teacher_finish,
    .doc = "Who teaches: exactly one of config, weights (with model, unless .onnx), ensemble, store."};

/* --- loss ----------------------------------------------------------------------------------- */

static const kd_config_key HINT_KEYS[] = {
    {"kind", KD_KEY_CHOICE, FIELD(kd_hint_spec, kind), .choices = "mse|cosine", .required = true,
     .doc = "squared distance, or 1 − cosine"},
    {"student", KD_KEY_TEXT, FIELD(kd_hint_spec, student), .required = true,
     .doc = "a node of the student; distill inspect CONFIG lists them"},
    {"teacher", KD_KEY_TEXT, FIELD(kd_hint_spec, teacher), .required = true,
     .doc = "a node of the teacher"},
    {"weight", KD_KEY_REAL, FIELD(kd_hint_spec, weight), ABOVE_ZERO, .fallback = "1",
     .doc = "in the sum of losses"},
};
static const kd_config_table HINT_TABLE = {.name = "hints", .key = HINT_KEYS,
    .count = COUNT(HINT_KEYS), .doc = "A loss between two hidden layers."};
static const kd_config_key LOSS_KEYS[] = {
    {"temperature", KD_KEY_REAL, FIELD(kd_loss_config, temperature), RANGE(0.001, 1000),
     .depends = "4 with a teacher, else 1", .doc = "τ, softens both distributions"},
    {"kl", KD_KEY_REAL, FIELD(kd_loss_config, kl), RANGE(0, 1e6),
     .depends = "0.9 with a teacher, else 0", .doc = "weight of τ²·divergence of the student from the teacher"},
    DIVERGENCE_KEYS,
    {"decoupled", KD_KEY_REAL, FIELD(kd_loss_config, decoupled), RANGE(0, 1e6), .fallback = "0",
     .doc = "β of decoupled distillation: KL of the label's probability against the rest, and β times KL among the rest; 0: plain"},
    {"standardize", KD_KEY_SWITCH, FIELD(kd_loss_config, standardize), .fallback = "false",
     .doc = "logits are brought to mean 0 and deviation 1 before they are compared"},
    {"hard", KD_KEY_REAL, FIELD(kd_loss_config, hard), RANGE(0, 1e6),
     .depends = "0.1 with a teacher, else 1", .doc = "weight of the cross-entropy with the labels"},
    {"label_smoothing", KD_KEY_REAL, FIELD(kd_loss_config, label_smoothing), BELOW_ONE,
     .fallback = "0", .doc = "share of the hard label spread over all classes"},
    {"hints", KD_KEY_OBJECTS, LIST(kd_loss_config, hint, hint_count), .table = &HINT_TABLE,
     .fallback = "[]", .doc = "losses between hidden layers"},
};
static const kd_config_table LOSS_TABLE = {.name = "loss", .key = LOSS_KEYS,
    .count = COUNT(LOSS_KEYS), .defaults = kd_config_loss_defaults,
    .finish = kd_config_loss_finish,
    .doc = "What is minimised."};

/* --- train, quantize ------------------------------------------------------------------------ */

static const kd_config_key TRAIN_KEYS[] = {
    EPOCHS_KEY(kd_train_spec, , .required = true),
    TRAIN_KEYS_BEHIND_EPOCHS(kd_train_spec, , "128", "\"sgd\"", "\"cosine\"", "0", "0.1, with adamw 0.001", NULL, NULL),
};
static const kd_config_table TRAIN_TABLE = {.name = "train", .key = TRAIN_KEYS,
    .count = COUNT(TRAIN_KEYS), .defaults = kd_config_train_defaults,
    .finish = kd_config_train_finish, .doc = "How the network is trained."};
static const kd_config_key QAT_KEYS[] = {
    EPOCHS_KEY(kd_quantize_config, train., .required = true),
    TRAIN_KEYS_BEHIND_EPOCHS(kd_quantize_config, train., "128", "\"sgd\"", "\"cosine\"", "0", "a tenth of train's", NULL, "as in train"),
    {"delay_steps", KD_KEY_INTEGER, FIELD(kd_quantize_config, delay_steps), RANGE(0, BILLION),
     .fallback = "0", .doc = "updates before activations are quantized too"},
};
static const kd_config_table QAT_TABLE = {.name = "qat", .key = QAT_KEYS, .count = COUNT(QAT_KEYS),
    .defaults = kd_config_qat_defaults, .finish = kd_config_qat_finish,
    .doc = "Training goes on with fake-quantized numbers. What is not said is as in train."};
static const kd_config_key QUANTIZE_KEYS[] = {
    {"format", KD_KEY_CHOICE, FIELD(kd_quantize_config, format_name), .choices = KD_FORMAT_CHOICES,
     .doc = "the weights are rounded to it and nothing else is; without it and budget, the network computes in integers, which the keys down to calibration_samples are about"},
    BUDGET_KEY(kd_quantize_config),
    {"rounding", KD_KEY_CHOICE, FIELD(kd_quantize_config, rounding), .choices = KD_ROUNDING_CHOICES,
     .depends = "nearest", .doc = "with format or budget: " KD_ROUNDING_DOC},
    {"name", KD_KEY_TEXT, FIELD(kd_quantize_config, name),
     .depends = "the format, int8, or the bits, as w4a8", .doc = "of the exported files, student.<name>.gguf"},
    {"weight_bits", KD_KEY_INTEGER, FIELD(kd_quantize_config, spec.integers.weight_bits), RANGE(2, 8),
     .fallback = "8", .doc = "of weights, one scale for each output channel"},
    {"activation_bits", KD_KEY_INTEGER, FIELD(kd_quantize_config, spec.integers.activation_bits),
     RANGE(2, 8), .fallback = "8", .doc = "of activations, one scale for each node"},
    {"method", KD_KEY_CHOICE, FIELD(kd_quantize_config, spec.integers.method), .choices = "ste|lsq",
     .fallback = "\"ste\"", .doc = "in qat, scales are observed (ste) or learned (lsq)"},
    {"symmetric_activations", KD_KEY_SWITCH,
     FIELD(kd_quantize_config, spec.integers.symmetric_activations), .fallback = "false",
     .doc = "zero-point in the middle of the range, which some accelerators want"},
    {"observer", KD_KEY_CHOICE, FIELD(kd_quantize_config, spec.integers.observer),
     .choices = "ema|minmax|percentile|mse", .fallback = "\"ema\"",
     .doc = "how ranges of activations are found"},
    {"percentile", KD_KEY_REAL, FIELD(kd_quantize_config, spec.integers.percentile), .low = 50, .high = 100,
     .above = true, .fallback = "99.99", .doc = "of the observer percentile"},
    {"ema", KD_KEY_REAL, FIELD(kd_quantize_config, spec.integers.ema), BELOW_ONE, .fallback = "0.99",
     .doc = "weight of the old value, of the observer ema, once 1/(1 − ema) batches are averaged"},
    {"calibration_samples", KD_KEY_INTEGER, FIELD(kd_quantize_config, calibration_samples),
     RANGE(1, BILLION), .fallback = "512", .doc = "training samples the observers watch first, drawn from a fixed shuffle"},
    GPTQ_KEYS(kd_quantize_config),
    {"qat", KD_KEY_OBJECT, .count = (ptrdiff_t)offsetof(kd_quantize_config, qat),
     .table = &QAT_TABLE,
     .doc = "quantization-aware training; without it the ranges are only calibrated"},
};
static const kd_config_table QUANTIZE_TABLE = {.name = "quantize", .key = QUANTIZE_KEYS,
    .count = COUNT(QUANTIZE_KEYS), .defaults = kd_config_quantize_defaults,
    .finish = kd_config_quantize_finish,
    .doc = "The exported student's numbers. Of several, each starts from the same float student."};

/* --- all of it ------------------------------------------------------------------------------ */

static const kd_config_key ROOT_KEYS[] = {
    {"$schema", KD_KEY_IGNORED, NOWHERE, .doc = "for editors: schema.json beside the config"},
    {"name", KD_KEY_TEXT, FIELD(kd_config, name), .depends = "the file's name without .json",
     .doc = "of the run and of its folder: letters, digits, dot, dash, underscore"},
    {"seed", KD_KEY_INTEGER, FIELD(kd_config, seed), U64, .fallback = "1",
     .doc = "of everything random"},
    {"precision", KD_KEY_CHOICE, FIELD(kd_config, precision), .choices = "float32|bfloat16|auto",
     .fallback = "\"float32\"",
     .doc = "of matrix products; auto: bfloat16 where the processor is fast at it"},
    {"data", KD_KEY_OBJECT, HERE(DATA_TABLE), .required = true, .doc = "samples and labels"},
    {"model", KD_KEY_OBJECT, PART(kd_config, model, MODEL_TABLE), .required = true,
     .doc = "the network to train: the student"},
    {"teacher", KD_KEY_OBJECT, OPTIONAL_PART(kd_config, teacher, teacher.present, TEACHER_TABLE),
     .doc = "who teaches it; without, it learns from the labels"},
    {"loss", KD_KEY_OBJECT, PART(kd_config, loss, LOSS_TABLE), .fallback = "{}",
     .doc = "what is minimised"},
    {"train", KD_KEY_OBJECT, PART(kd_config, train, TRAIN_TABLE), .required = true,
     .doc = "how it is trained"},
    {"quantize", KD_KEY_OBJECTS, LIST(kd_config, quantize, quantize_count),
     .table = &QUANTIZE_TABLE,
     .doc = "the exported student's numbers; without, nothing is exported"},
    {"correct_bias", KD_KEY_INTEGERS, LIST(kd_config, correct_bias, correct_bias_count),
     RANGE(0, 4095), .fallback = "[]",
     .doc = "labels whose output biases are shifted after training, all by what is best on the validation split; for those of data.exclude"},
    {"baseline", KD_KEY_SWITCH, FIELD(kd_config, baseline), .fallback = "false",
     .doc = "also train the same network without the teacher, for comparison", .formerly = "alone"},
};
const kd_config_table kd_config_root = {.name = "", .key = ROOT_KEYS, .count = COUNT(ROOT_KEYS),
    .defaults = kd_config_root_defaults, .finish = kd_config_root_finish, .finish_always = true,
    .doc = "A run of distill."};
/* clang-format on */
