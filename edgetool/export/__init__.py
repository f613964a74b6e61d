"""From adapter to GGUF: merge, convert, quantize, and a receipt that says how true the result is.

What others call:

    plan.check_exportable   can this model become GGUF? asked before training starts
    run.export_gguf         base + adapter -> model.Q4_K_M.gguf + receipt.json
    merge.merge             base + adapter -> a transformers folder
    fidelity                logits and tokens of the GGUF against the merged model
"""
