"""The peers' side of the bench "peers": run by the Python of their own environment.

    PEERS_PYTHON lab/bench/peer_side.py TASK FOLDER THREADS

Reads FOLDER/TASK.npz, gets ready, and then obeys one line at a time: "go" runs the task once, "say"
writes what it found to FOLDER/TASK.out.npz. It answers "done" to each. What it measures is written
here from papers and documentation; nothing of this toolkit is imported.

Shape letters: B batch, D embedding, F feature, H units, Q queries, R rows, T tokens.
"""

# pyright: reportMissingImports=false
import os
import sys

import numpy as np

MARGIN, RATE, LONGEST_GRADIENT = 0.2, 2e-4, 2.0
SCALE = 20.0  # of the scores of sentence-transformers, 1 / temperature


def train_vse(given):
    """Training of VSE++ on image vectors: a GRU, a linear map, the sum of hinges, Adam.

    Args:
      given: image (N, F), tokens (N, T), 0 pads, lengths (N,); the first weights words, kernel,
        recurrent, bias, gates in the order z, r, c, and map (F, H); size B; check (B,) rows.

    Returns:
      Two functions: trains an epoch; finds the loss of the rows `check` with the first weights.

    Reference: Faghri et al., VSE++, 2018, section 3 and Eq. 5 with the sum; section 4 (the sizes).
    """
    import torch
    from torch import nn

    image, tokens, lengths = (torch.from_numpy(given[n]) for n in ("image", "tokens", "lengths"))
    tokens = tokens.long()
    words = nn.Embedding(*given["words"].shape, padding_idx=0)
    gru = nn.GRU(given["kernel"].shape[0], given["recurrent"].shape[0], batch_first=True)
    linear = nn.Linear(*given["map"].shape, bias=False)
    with torch.no_grad():
        words.weight.copy_(torch.from_numpy(given["words"]))
        linear.weight.copy_(torch.from_numpy(given["map"].T.copy()))
        for weight, name in ((gru.weight_ih_l0, "kernel"), (gru.weight_hh_l0, "recurrent")):
            weight.copy_(torch.from_numpy(gates_first(given[name])))
        gru.bias_ih_l0.copy_(torch.from_numpy(gates_first(given["bias"])))
        gru.bias_hh_l0.zero_()
    weights = [*words.parameters(), *gru.parameters(), *linear.parameters()]
    optimiser = torch.optim.Adam(weights, RATE)

    def loss_of(rows):
        rows = rows[torch.argsort(lengths[rows], descending=True)]
        longest = lengths[rows]
        inputs = words(tokens[rows, : int(longest[0])])
        packed = nn.utils.rnn.pack_padded_sequence(inputs, longest, batch_first=True)
        text = nn.functional.normalize(gru(packed)[1][0])
        scores = nn.functional.normalize(linear(image[rows])) @ text.T
        own = scores.diag()
        hinges = (MARGIN + scores - own[:, None]).clamp(0) + (MARGIN + scores - own).clamp(0)
        return hinges.sum() - hinges.diag().sum()

    def epoch():
        for rows in torch.randperm(len(image)).split(int(given["size"])):
            optimiser.zero_grad()
            loss_of(rows).backward()
            nn.utils.clip_grad_norm_(weights, LONGEST_GRADIENT)
            optimiser.step()

    with torch.no_grad():
        first = float(loss_of(torch.from_numpy(given["check"])))
    return epoch, lambda: {"loss": first}


def gates_first(weights):
    """(..., 3H) gates in the order z, r, c -> (3H, ...) in that of PyTorch: r, z, n."""
    z, r, c = np.split(weights, 3, axis=-1)
    return np.concatenate([r, z, c], axis=-1).T.copy()


def score_torchmetrics(given):
    """MRR and nDCG@10 of a (Q, R) score matrix with one relevant row each, by torchmetrics.

    Cosines are shifted: its MRR takes a row whose score is not above 0 as not found.
    """
    import torch
    from torchmetrics.retrieval import RetrievalMRR, RetrievalNormalizedDCG

    scores, found = torch.from_numpy(given["scores"]) + 2, {}
    queries = torch.arange(len(scores))[:, None].expand(scores.shape).reshape(-1)
    target = torch.zeros(scores.shape, dtype=torch.bool)
    target[torch.arange(len(scores)), torch.from_numpy(given["own"]).long()] = True

    def score():
        for name, metric in (("mrr", RetrievalMRR()), ("ndcg", RetrievalNormalizedDCG(top_k=10))):
            found[name] = float(metric(scores.reshape(-1), target.reshape(-1), indexes=queries))

    return score, lambda: found


def score_ranx(given):
    """The same by ranx, which is handed rows of (number, value), best first, as it expects them."""
    from ranx import evaluate

    scores, own, found = given["scores"], given["own"], {}
    relevant = np.stack([own, np.ones(len(own))], axis=-1)[:, None]

    def score():
        numbers = np.argsort(-scores, axis=1)
        ranked = np.stack([numbers, np.take_along_axis(scores, numbers, axis=1)], axis=-1)
        found.update(evaluate(relevant, ranked, ["mrr", "ndcg@10"]))

    return score, lambda: {"mrr": found["mrr"], "ndcg": found["ndcg@10"]}


def nearest_faiss(given):
    """The ten rows of the highest inner product, by faiss's exact index."""
    import faiss

    index, found = faiss.IndexFlatIP(given["rows"].shape[1]), {}
    index.add(given["rows"])

    def ask():
        _, found["rows"] = index.search(given["queries"], 10)

    return ask, lambda: found


def train_negatives(given):
    """A step of two MLPs with sentence-transformers' MultipleNegativesRankingLoss.

    Args:
      given: image, text (B, F); weights (2, 2) kernels as image0, image1, text0, text1.
    """
    import torch
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from torch import nn

    towers, sides = [], ("image", "text")
    for side in sides:
        kernels = [torch.from_numpy(given[f"{side}{place}"].T.copy()) for place in (0, 1)]
        layers = [nn.Linear(*kernel.shape[::-1]) for kernel in kernels]
        for layer, kernel in zip(layers, kernels, strict=True):
            layer.weight.data, layer.bias.data = kernel, torch.zeros(len(kernel))
        towers.append(nn.Sequential(layers[0], nn.ReLU(), layers[1]))
    loss = MultipleNegativesRankingLoss(nn.Identity(), scale=SCALE)
    inputs = [torch.from_numpy(given[side]) for side in sides]
    optimiser = torch.optim.Adam([w for tower in towers for w in tower.parameters()], RATE)
    labels = torch.zeros(len(inputs[0]))

    def loss_now():
        rows = [tower(side) for tower, side in zip(towers, inputs, strict=True)]
        return loss.compute_loss_from_embeddings(rows, labels)

    def step():
        optimiser.zero_grad()
        loss_now().backward()
        optimiser.step()

    with torch.no_grad():
        first = float(loss_now())
    return step, lambda: {"loss": first}


TASKS = {
    "vse": train_vse,
    "torchmetrics": score_torchmetrics,
    "ranx": score_ranx,
    "faiss": nearest_faiss,
    "negatives": train_negatives,
}


def main(task, folder, threads):
    """Answers "done" to every line until there is no more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    if int(threads):
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), threads)
    with np.load(f"{folder}/{task}.npz") as stored:
        run, found = TASKS[task](dict(stored))
    print("done", file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "go":
            run()
        else:
            np.savez(f"{folder}/{task}.out.npz", **found())
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
