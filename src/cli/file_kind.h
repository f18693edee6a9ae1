/* What kind of file a path leads to, told by its first bytes. */
#ifndef KD_CLI_FILE_KIND_H
#define KD_CLI_FILE_KIND_H

typedef enum {
    KD_FILE_CONFIG,     /* JSON                                        */
    KD_FILE_CHECKPOINT, /* HDF5 of ours                                */
    KD_FILE_STORE,      /* HDF5 of ours, or a folder of shards         */
    KD_FILE_GGUF,       /* ours or theirs                              */
    KD_FILE_SAFETENSORS,
    KD_FILE_ONNX,           /* by its name: its first bytes may be any */
    KD_FILE_WHISPER_BIN,    /* of whisper.cpp                          */
    KD_FILE_WHISPER_FOLDER, /* of Hugging Face, by its config.json     */
    KD_FILE_LLAMA_FOLDER,   /* the same of a language model            */
    KD_FILE_BERT_FOLDER     /* the same of an encoder                  */
} kd_file_kind;

/* KD_EDATA when it is none of these. */
int kd_file_kind_of(kd_file_kind *out, const char *path);

#endif
