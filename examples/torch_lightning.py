"""The model of torch_convolution.py in Lightning: `pip install lightning`, then python examples/torch_lightning.py

A spiking layer needs nothing special: the trainer moves, saves and loads it like any module. Batches come from the
processes of a `DataLoader`.
"""

import argparse

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch_convolution import Model, images


class Bars(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def training_step(self, batch: list[torch.Tensor], number: int) -> torch.Tensor:
        x, y = batch
        loss = torch.nn.functional.cross_entropy(self.model(x), y)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], number: int) -> None:
        x, y = batch
        self.log("accuracy", (self.model(x).argmax(1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--workers", type=int, default=1, help="processes that load batches")
    asked = options.parse_args()
    lightning.seed_everything(1)
    train = DataLoader(TensorDataset(*images(512, 1)), 32, shuffle=True, num_workers=asked.workers)
    test = DataLoader(TensorDataset(*images(256, 2)), 64)
    trainer = lightning.Trainer(max_epochs=asked.epochs, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(Bars(), train, test)
    print({name: round(float(value), 3) for name, value in trainer.callback_metrics.items()})


if __name__ == "__main__":
    main()
