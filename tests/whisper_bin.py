"""whisper.cpp's .bin and Hugging Face's Whisper, written from the formats' descriptions and without a
line of the C code: what the goldens and the parity check compare it with."""
import struct

import numpy as np

PARTS = [("cross_attn_ln", "encoder_attn_layer_norm"), ("cross_attn", "encoder_attn"),
         ("attn_ln", "self_attn_layer_norm"), ("attn", "self_attn"), ("query", "q_proj"), ("key", "k_proj"),
         ("value", "v_proj"), ("out", "out_proj"), ("mlp_ln", "final_layer_norm"), ("blocks", "layers"),
         ("ln_post", "layer_norm"), ("ln", "layer_norm"), ("token_embedding", "embed_tokens"),
         ("positional_embedding", "embed_positions.weight")]


def hugging_face_name(name):
    name = name.replace("mlp.0", "fc1").replace("mlp.2", "fc2")
    table = dict(PARTS)
    return "model." + ".".join(table.get(part, part) for part in name.split("."))


def openai_names(layers_encoder, layers_decoder):
    def block(prefix, cross):
        kinds = ["attn"] + (["cross_attn"] if cross else [])
        for kind in kinds:
            for part in ["query.weight", "query.bias", "key.weight", "value.weight", "value.bias", "out.weight",
                         "out.bias"]:
                yield f"{prefix}.{kind}.{part}"
            yield from (f"{prefix}.{kind}_ln.weight", f"{prefix}.{kind}_ln.bias")
        for part in ["mlp.0", "mlp.2", "mlp_ln"]:
            yield from (f"{prefix}.{part}.weight", f"{prefix}.{part}.bias")

    yield "encoder.positional_embedding"
    for part in ["conv1", "conv2"]:
        yield from (f"encoder.{part}.weight", f"encoder.{part}.bias")
    for i in range(layers_encoder):
        yield from block(f"encoder.blocks.{i}", False)
    yield from ("encoder.ln_post.weight", "encoder.ln_post.bias", "decoder.positional_embedding",
                "decoder.token_embedding.weight")
    for i in range(layers_decoder):
        yield from block(f"decoder.blocks.{i}", True)
    yield from ("decoder.ln.weight", "decoder.ln.bias")


def read_bin(path):
    """f32 and f16 files → (header of 11 numbers, filters, tokens, {OpenAI name: array})"""
    data = open(path, "rb").read()
    magic, *header = struct.unpack_from("<12i", data, 0)
    assert magic == 0x67676D6C
    mels, bins = struct.unpack_from("<2i", data, 48)
    at = 56 + 4 * mels * bins
    filters = np.frombuffer(data, "<f4", mels * bins, 56).reshape(mels, bins)
    count, = struct.unpack_from("<i", data, at)
    at += 4
    tokens = []
    for _ in range(count):
        length, = struct.unpack_from("<I", data, at)
        tokens.append(data[at + 4:at + 4 + length])
        at += 4 + length
    arrays = {}
    while at < len(data):
        rank, length, kind = struct.unpack_from("<3i", data, at)
        ne = struct.unpack_from(f"<{rank}i", data, at + 12)
        at += 12 + 4 * rank
        name = data[at:at + length].decode()
        at += length
        dtype, n = ("<f4", "<f2")[kind], int(np.prod(ne))
        arrays[name] = np.frombuffer(data, dtype, n, at).astype(np.float32).reshape(ne[::-1])
        if name.startswith("encoder.conv") and name.endswith("bias"):
            arrays[name] = arrays[name].reshape(-1)
        at += n * int(dtype[2])
    return header, filters, tokens, arrays


def write_bin(path, header, filters, tokens, arrays):
    """An f32 file."""
    with open(path, "wb") as out:
        out.write(struct.pack("<12i", 0x67676D6C, *header) + struct.pack("<2i", *filters.shape))
        out.write(filters.astype("<f4").tobytes() + struct.pack("<i", len(tokens)))
        for token in tokens:
            out.write(struct.pack("<I", len(token)) + token)
        for name, x in arrays.items():
            if name.startswith("encoder.conv") and name.endswith("bias"):
                x = x.reshape(-1, 1)
            out.write(struct.pack("<3i", x.ndim, len(name), 0) + struct.pack(f"<{x.ndim}i", *x.shape[::-1]))
            out.write(name.encode() + x.astype("<f4").tobytes())


def build(header, arrays=None):
    """WhisperForConditionalGeneration of this header in eval mode, in float32, with attention written out;
    random when there are no arrays."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    vocabulary, audio_ctx, width, audio_heads, audio_layers, text_ctx, _, text_heads, text_layers, mels, _ = header
    end = 50257 if vocabulary >= 51865 else vocabulary - 1608 if vocabulary > 10000 else 256
    config = WhisperConfig(
        vocab_size=vocabulary, num_mel_bins=mels, d_model=width, encoder_layers=audio_layers,
        encoder_attention_heads=audio_heads, encoder_ffn_dim=4 * width, decoder_layers=text_layers,
        decoder_attention_heads=text_heads, decoder_ffn_dim=4 * width, max_source_positions=audio_ctx,
        max_target_positions=text_ctx, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=end + 1, attn_implementation="eager")
    model = WhisperForConditionalGeneration(config).eval()
    if arrays is not None:
        state = {hugging_face_name(name): torch.from_numpy(np.array(x)) for name, x in arrays.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and set(missing) <= {"proj_out.weight"}, (missing, unexpected)
        model.tie_weights()
    return model


def arrays_of(model, layers_encoder, layers_decoder):
    state = model.state_dict()
    return {name: state[hugging_face_name(name)].detach().numpy().astype(np.float32)
            for name in openai_names(layers_encoder, layers_decoder)}
