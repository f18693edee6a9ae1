/* Matrices packed into a Hugging Face folder as compressed-tensors and NVIDIA's modelopt lay them
 * out, both ways. Of a matrix X.weight (rows,n) there are some tensors X.<name>:
 *
 *                    compressed-tensors                       modelopt
 *   f8_e4m3          weight (rows,n) F8_E4M3,                 weight,
 *                    weight_scale (rows,1)                    weight_scale (rows)
 *   f8_e4m3_tensor   weight, weight_scale (1)                 weight, weight_scale ()
 *   nvfp4            weight_packed (rows,n/2) U8,             weight,
 *                    weight_scale (rows,n/16) F8_E4M3,        weight_scale,
 *                    weight_global_scale (1), 1/scale         weight_scale_2 (), scale
 *   mxfp4            weight_packed, weight_scale (rows,n/32)  –
 *                    U8, exponents plus 127
 *   q4_0, q8_0,      weight_packed (rows,n·bits/32) I32,      –
 *   int8             weight_scale, weight_shape (2)
 *
 * Two codes of four bits share a byte, the first in its low half. Where inputs are rounded too, the
 * largest of them that calibration saw is stated: input_scale, largest/448, or of nvfp4
 * input_global_scale, 2688/largest, in modelopt input_scale, largest/2688. What computes here does
 * not round them.
 *
 * What is not packed are the embeddings, the output matrix, and rows that cannot be cut into
 * blocks: f16, and vectors f32.
 *
 * A plain folder has f8_e5m2, which has no scales, as numbers of F8_E5M2.
 */
#ifndef KD_FILES_PACKING_H
#define KD_FILES_PACKING_H

#include "base/text.h"
#include "files/encoding.h"
#include "files/stored.h"

typedef enum { KD_LAYOUT_PLAIN, KD_LAYOUT_COMPRESSED_TENSORS, KD_LAYOUT_MODELOPT } kd_folder_layout;

/* For tables of keys. */
#define KD_LAYOUT_CHOICES "compressed-tensors|modelopt|plain"

typedef struct {
    kd_folder_layout layout;
    const kd_number_format *format; /* of what is packed; of a plain folder not looked at        */
    int64_t group;                  /* values that share a scale; 0: a row's, or the tensor's    */
    const float *inputs; /* (parameters) largest magnitude of what each is multiplied by; 0: not
                            seen. Borrowed; NULL: inputs are not rounded */
} kd_packing;

/* To be written: `layout` as in KD_LAYOUT_CHOICES. KD_EUSAGE where there is none of this name, or
 * its readers do not know this format. `inputs`: whether the largest inputs will be stated. */
int kd_packing_choose(kd_packing *out, const char *layout, const kd_number_format *format,
                      bool inputs);

/* What a folder states in config.json or, of modelopt, in hf_quant_config.json. KD_EDATA names what
 * is not known here. */
int kd_packing_read(kd_packing *out, const char *folder);

/* The member "quantization_config" of config.json, a comma behind it; `ignored`: the JSON list of
 * layers that are not packed. */
void kd_packing_add_config(kd_text *out, const kd_packing *packing, const char *ignored);
/* The whole of hf_quant_config.json. */
void kd_packing_add_modelopt(kd_text *out, const kd_packing *packing, const char *ignored);

/* A kd_format_rule: of a packed folder. */
const kd_number_format *kd_packed_format_of(const kd_param *param,
                                            const kd_number_format *matrices);

/* --- the tensors of a matrix ---------------------------------------------------------------- */

typedef enum {
    KD_PART_CODES, /* the numbers                                     */
    KD_PART_SCALES,
    KD_PART_TENSOR_SCALE,
    KD_PART_TENSOR_DIVISOR, /* its reciprocal                                  */
    KD_PART_INPUT_SCALE,    /* may be missing                                  */
    KD_PART_INPUT_DIVISOR,  /* likewise                                        */
    KD_PART_SHAPE
} kd_part_kind;

typedef struct {
    kd_part_kind kind;
    const char *name, *dtype; /* as safetensors calls it                         */
    int rank;
    int64_t shape[2];
} kd_part;

enum { KD_PARTS_MAX = 4 };

/* The parts of a matrix, the codes first; returns how many. */
int kd_packing_parts(kd_part out[KD_PARTS_MAX], const kd_packing *packing, kd_rows_of rows);

/* How the codes and scales of a format are read where they lie apart. */
void kd_packing_numbers(kd_stored *out, const kd_packing *packing);

/* A row of n values as format->encode left it → its codes, and its scales: bytes, or floats where
 * their dtype is F32 or F16. Either may be NULL. */
void kd_packing_split(const kd_number_format *format, unsigned char *codes, void *scales,
                      const unsigned char *row, int64_t n);

#endif
