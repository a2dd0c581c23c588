<#
.SYNOPSIS
    The recovery checkpoints of these VMs that are there now, whoever made them.
.DESCRIPTION
    Input: { settings, vmIds }. Output: { checkpoints: [...] }.
    Source: hyperv.md 1.1 (Msvm_SnapshotOfVirtualSystem, type Snapshot:Recovery, Msvm_CollectedSnapshots).
    INFERRED: a checkpoint that no snapshot collection holds was made for a single VM.
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
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $records = @(Get-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'checkpoints')
    $found = New-Object -TypeName System.Collections.ArrayList
    $collections = @{}
    foreach ($vmId in @($Request.vmIds)) {
        $system = Get-GcbVirtualSystem -Namespace $namespace -VmId $vmId
        if ($null -eq $system) { continue }
        foreach ($checkpoint in @(Get-GcbCheckpointSetting -VirtualSystem $system -RecoveryOnly)) {
            $holder = Get-CimAssociatedInstance -InputObject $checkpoint -Association Msvm_CollectedSnapshots -ResultClassName Msvm_SnapshotCollection | Select-Object -First 1
            if ($null -ne $holder) { $collections[[string]$holder.CollectionID] = $holder; continue }
            $id = 'vm/' + $vmId + '/' + $checkpoint.InstanceID
            $record = Find-GcbCheckpointRecord -Records $records -SnapshotCollectionId $id -CollectionId ('vm/' + $vmId) -Checkpoints @($checkpoint)
            [void]$found.Add((Get-GcbFoundCheckpoint -ImageService $images -SnapshotCollectionId $id -Checkpoints @($checkpoint) -Record $record))
        }
    }
    foreach ($holder in @($collections.Values)) {
        $owner = Get-CimAssociatedInstance -InputObject $holder -Association Msvm_SnapshotOfVirtualSystemCollection -ResultClassName Msvm_VirtualSystemCollection | Select-Object -First 1
        $ownerId = [string](Get-GcbProperty -InputObject $owner -Name 'CollectionID')
        $checkpoints = @(Get-GcbCollectedCheckpoint -SnapshotCollection $holder)
        $record = Find-GcbCheckpointRecord -Records $records -SnapshotCollectionId $holder.CollectionID -CollectionId $ownerId -Checkpoints $checkpoints
        [void]$found.Add((Get-GcbFoundCheckpoint -ImageService $images -SnapshotCollectionId $holder.CollectionID -Checkpoints $checkpoints -Record $record))
    }
    [ordered]@{ checkpoints = $found.ToArray() }
}
