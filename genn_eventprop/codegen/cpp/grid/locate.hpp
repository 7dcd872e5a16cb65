// Finds the step at which a trial diverges, by bisection on the number of steps.
void locate(const Args& args, Work& work, Trouble& trouble) {
    const NoDenormals fast;
    work.prepare(args);
    int64_t sound = 0, bad = args.n_steps;
    Args shorter = args;
    while (bad - sound > 1) {
        shorter.n_steps = (sound + bad) / 2;
        (forward(shorter, work, trouble.sample) ? bad : sound) = shorter.n_steps;
    }
    shorter.n_steps = trouble.step = bad;
    trouble.population = forward(shorter, work, trouble.sample);
    trouble.state = work.diverged_state;
    trouble.neuron = work.diverged_neuron;
}
