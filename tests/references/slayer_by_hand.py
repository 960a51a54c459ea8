"""SLAYER in plain NumPy, with explicit convolutions and the chain rule written out: test vectors of random
networks in the layout that ``experiments/slayer_vectors.py`` reads. Shares no code with the package."""

import numpy as np


def kernel(steps, dt, tau, peak, floor=0.01):
    """``peak (t/tau) exp(1 - t/tau)`` up to the first sample below the floor beyond the peak."""
    found = [0.0]
    for k in range(1, steps):
        t = k * dt
        value = peak * t / tau * np.exp(1 - t / tau)
        if abs(value) < floor and t > tau:
            break
        found.append(value)
    return np.array(found)


def filtered(eps, x, dt):
    """``dt sum_k eps[k] x[t - k]`` of signals ``(trials, neurons, time)``."""
    steps = x.shape[-1]
    out = np.zeros_like(x)
    for k, weight in enumerate(eps):
        out[..., k:] += dt * weight * x[..., : steps - k]
    return out


def correlated(eps, g, dt):
    """The transpose of `filtered`."""
    return filtered(eps, g[..., ::-1], dt)[..., ::-1]


def spiking(u, nu, theta, dt):
    """Spikes of height 1/dt, and the potential with the refractory kernels."""
    u, s = u.copy(), np.zeros_like(u)
    steps = u.shape[-1]
    for t in range(steps):
        due = u[..., t] >= theta
        s[..., t] = due / dt
        for k, weight in enumerate(nu):
            if t + k < steps:
                u[..., t + k] += weight * due
    return s, u


def events(s):
    return [[int(i) for i in row] for row in np.argwhere(s > 0)]


def optimised(weight, g, kind, lr=0.01, b1=0.9, b2=0.999, eps=1e-8):
    m = v = top = 0.0
    for k in (1, 2, 3):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        if kind == "nadam":
            step = np.sqrt(1 - b2**k) / (1 - b1**k) * (b1 * m + (1 - b1) * g) / (np.sqrt(v) + eps)
        else:
            top = np.maximum(top, v)
            step = m / (1 - b1**k) / (np.sqrt(top) / np.sqrt(1 - b2**k) + eps)
        weight = weight - lr * step
    return weight


def vectors(seed: int, loss_kind: str, dt: float = 1.0, steps: int = 40) -> dict:
    """One case of a file of vectors."""
    rng = np.random.default_rng(seed)
    trials, inputs, hidden, outputs = 2, 5, 4, 3
    theta, tau_s, tau_ref, scale_ref = 10.0, rng.uniform(3, 10), rng.uniform(1, 2), rng.uniform(1, 2.5)
    tau_rho, scale_rho = rng.uniform(0.5, 1.5), rng.uniform(0.3, 1.5)
    w1, w2 = rng.normal(3, 2, (hidden, inputs)), rng.normal(3, 3, (outputs, hidden))
    delay = rng.uniform(0, 5 * dt, hidden)
    bins = np.floor(delay / dt).astype(int)
    given = (rng.random((trials, inputs, steps)) < 0.15) / dt
    eps, nu = kernel(steps, dt, tau_s, 1.0), kernel(steps, dt, tau_ref, -scale_ref * theta)

    a0 = filtered(eps, given, dt)
    u1 = np.einsum("hi,bit->bht", w1, a0)
    s1, u1_post = spiking(u1, nu, theta, dt)
    late = np.zeros_like(s1)
    for j, k in enumerate(bins):
        late[:, j, k:] = s1[:, j, : steps - k]
    a1 = filtered(eps, late, dt)
    u2 = np.einsum("oh,bht->bot", w2, a1)
    s2, u2_post = spiking(u2, nu, theta, dt)

    more = {}
    if loss_kind == "spikeTime":
        wanted = (rng.random(s2.shape) < 0.2) / dt
        e, target = filtered(eps, s2 - wanted, dt), events(wanted)
    else:
        begin, end, true, false = 3, steps - 6, 9, 1
        classes = rng.integers(0, outputs, trials)
        wanted = np.where(np.arange(outputs)[None] == classes[:, None], true, false)
        target = np.eye(outputs, dtype=int)[classes].tolist()
        mask = np.zeros(steps)
        mask[begin:end] = 1
        counts = dt * s2[..., begin:end].sum(-1)
        e = filtered(eps, s2 * (1 - mask), dt) + mask * ((counts - wanted) / (end - begin))[..., None]
        more = {"tgtRegion": [begin * dt, end * dt], "true": true, "false": false}
    loss = dt / 2 * np.sum(e**2)

    rho = lambda u: scale_rho / (tau_rho * theta) * np.exp(-np.abs(u - theta) / (tau_rho * theta))
    g_u2 = correlated(eps, dt * e, dt) * rho(u2_post)
    g_late = correlated(eps, np.einsum("oh,bot->bht", w2, g_u2), dt)
    before = np.concatenate([np.zeros_like(late[..., :1]), late[..., :-1]], -1)
    g_s1 = np.zeros_like(s1)
    for j, k in enumerate(bins):
        g_s1[:, j, : steps - k] = g_late[:, j, k:]
    g_u1 = g_s1 * rho(u1_post)
    found = {
        "loss": float(loss), "s1": events(s1), "s2": events(s2),
        "u1_pre": u1, "u1_post": u1_post, "u2_pre": u2, "u2_post": u2_post,
        "dW1": np.einsum("bht,bit->hi", g_u1, a0), "dW2": np.einsum("bot,bht->oh", g_u2, a1),
        "dDelay": -np.sum(g_late * (late - before), axis=(0, 2)),
    }  # fmt: skip
    listed = {name: x.tolist() if isinstance(x, np.ndarray) else x for name, x in found.items()}
    return {
        "name": f"{loss_kind}_{seed}_Ts{dt:g}",
        "config": {
            "Ts": dt, "theta": theta, "tauSr": tau_s, "tauRef": tau_ref, "scaleRef": scale_ref,
            "tauRho": tau_rho, "scaleRho": scale_rho, **more,
        },
        "loss_kind": loss_kind,
        "shapes": {"B": trials, "Nin": inputs, "Nh": hidden, "Nout": outputs, "T": steps},
        "W1": w1.tolist(), "W2": w2.tolist(), "delay_ms": delay.tolist(),
        "input_spikes": events(given), "target": target, "float64": listed, "float32": listed,
        "nadam_W2_after_3_steps_same_grad_lr0p01": optimised(w2, found["dW2"], "nadam").tolist(),
        "adam_amsgrad_W2_after_3_steps_same_grad_lr0p01": optimised(w2, found["dW2"], "amsgrad").tolist(),
    }  # fmt: skip
