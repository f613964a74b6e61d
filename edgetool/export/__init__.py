"""From adapter to GGUF: merge, convert, quantize, and a receipt that says how true the result is.

What others call:

    plan.check_exportable   can this model become GGUF? asked before training starts
    run.export_gguf         base + adapter -> model.Q4_K_M.gguf + receipt.json
    merge.merge             base + adapter -> a transformers folder
    converter               models it does not know, by llama.cpp's own script
    fidelity, divergence    how far one engine's logits and tokens lie from another's
    imatrix                 which inputs of the weights matter, for quantizers
    adapter_gguf            the adapter alone, for a base GGUF
    inspect                 what a GGUF file says about itself, hostile ones too
    card, modelfile, lm_studio, hub    where a file goes next
"""
