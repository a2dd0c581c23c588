<#
.SYNOPSIS
    Removes a recovery checkpoint and waits until its differencing files are merged.
.DESCRIPTION
    Input: { settings, snapshotCollectionId, mergeTimeoutMs }. Output: { removed }. Gone already is fine.
    Source: hyperv.md 1.3 and 1.2 (DestroySnapshot), 2.2 (never delete .avhdx by hand).
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.collectionNamespace
    $state = $Request.settings.stateDirectory
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $id = [string]$Request.snapshotCollectionId
    $isSingle = $id.StartsWith('vm/', [System.StringComparison]::Ordinal)
    $checkpoints = @()
    $holder = $null
    if ($isSingle) {
        $parts = $id.Split([char[]]@('/'), 3)
        $system = Get-GcbVirtualSystem -Namespace $Request.settings.namespace -VmId $parts[1]
        if ($null -ne $system) {
            $checkpoints = @(Get-GcbCheckpointSetting -VirtualSystem $system -RecoveryOnly | Where-Object -FilterScript { $_.InstanceID -eq $parts[2] })
        }
    }
    else {
        $holder = Get-CimInstance -Namespace $namespace -ClassName Msvm_SnapshotCollection -Filter (Format-GcbFilter -Property 'CollectionID' -Value $id) | Select-Object -First 1
        if ($null -ne $holder) { $checkpoints = @(Get-GcbCollectedCheckpoint -SnapshotCollection $holder) }
    }
    $records = @(Get-GcbRecord -StateDirectory $state -Kind 'checkpoints' | Where-Object -FilterScript { [string]$_.snapshotCollectionId -eq $id })

    $removed = $false
    if ($isSingle -and $checkpoints.Count -eq 1) {
        $description = Get-GcbFoundCheckpoint -ImageService $images -SnapshotCollectionId $id -Checkpoints $checkpoints -Record $null
        Remove-GcbCheckpoint -Namespace $Request.settings.namespace -Checkpoint $checkpoints[0] -TimeoutMs ([long]$Request.settings.callTimeoutMs)
        $removed = $true
    }
    if ($null -ne $holder) {
        $description = Get-GcbFoundCheckpoint -ImageService $images -SnapshotCollectionId $id -Checkpoints $checkpoints -Record $null
        Remove-GcbSnapshotCollection -Namespace $namespace -SnapshotCollection $holder -TimeoutMs ([long]$Request.settings.callTimeoutMs)
        $removed = $true
    }
    if ($removed) {
        Wait-GcbMerge -Namespace $Request.settings.namespace -ImageService $images -Disks @($description['disks']) -VhdSetOrder $Request.settings.vhdSetOrder -TimeoutMs ([long]$Request.mergeTimeoutMs)
    }
    foreach ($record in $records) { Remove-GcbRecord -StateDirectory $state -Kind 'checkpoints' -Tag $record.tag }
    [ordered]@{ removed = $removed }
}
